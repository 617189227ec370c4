/** `firewall guard --backend=iptables` as a process, by both variants of iptables. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { BROKER_LINK } from '../../common/addresses.ts'
import { whyUnguarded } from '../../common/firewall-state.ts'
import type { Variant } from '../../node-guard/firewall/rules/iptables.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { ADMIN_AND_RAW, type GuardProcess, NET_ADMIN_ONLY, startGuard } from './guard-process.ts'
import { VARIANTS } from './iptables-rules.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

/** A long interval, so that only events can cause a repair within a test. */
const NO_POLL = '--poll-interval=5m'
/** iptables-legacy needs a raw socket. */
const WRAPPERS: Record<Variant, readonly string[]> = { nft: NET_ADMIN_ONLY, legacy: ADMIN_AND_RAW }

for (const variant of VARIANTS)
  describe(`firewall guard by iptables-${variant}`, needsNamespaces(), () => {
    const wrapper = WRAPPERS[variant]
    let node: TestNode
    let guard: GuardProcess
    before(async () => {
      node = await openNode()
      const aws = await node.agent('aws')
      for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
      // The guard chooses the variant that has the node's other rules.
      if (variant === 'legacy') await node.must('node', ['iptables-legacy', '-t', 'nat', '-L'])
    })
    after(() => node?.close())
    const start = async () => {
      guard = await startGuard(node, ['--backend=iptables', NO_POLL], wrapper)
      await guard.becomes('ready')
    }
    const cleanUp = async () => {
      await guard.end('SIGKILL')
      await node.run('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
      const flush = `for ip in iptables ip6tables; do for table in filter mangle nat; do
        $ip-${variant} -w -t $table -F; $ip-${variant} -w -t $table -X; done; done`
      await node.must('node', ['sh', '-ec', flush])
    }

    const iptables = (ip: string, ...args: string[]) =>
      node.must('node', [`${ip}tables-${variant}`, '-w', ...args])
    const both = async (...args: string[]) => {
      for (const ip of ['ip', 'ip6']) await iptables(ip, ...args)
    }
    const saved = async () => {
      const texts = await Promise.all(
        ['ip', 'ip6'].map((ip) => node.must('node', [`${ip}tables-${variant}-save`])),
      )
      const lines = texts.join('').split('\n')
      return lines.filter((line) => /^(\*|:|-A)/.test(line)).map((line) => line.replace(/ \[.*/, ''))
    }
    /** Our rules of both families, and the first rules of the chains that packets pass when they are forwarded. */
    const ours = async () => {
      const lines = await saved()
      const first = ['FORWARD', 'POSTROUTING'].flatMap((chain) =>
        lines.filter(
          (line, index) => line.startsWith(`-A ${chain}`) && !lines[index - 1]?.startsWith(`-A ${chain}`),
        ),
      )
      return [...lines.filter((line) => line.includes('POD2IAM')).sort(), ...first].join('\n')
    }
    const pod = async (host: string, port = 80) =>
      (await (await node.agent('pod1')).tcp({ host, port })).outcome
    const refused = async () => {
      assert.equal(await pod('169.254.169.254'), 'ECONNREFUSED')
      assert.equal(await pod('fd00:ec2::254'), 'ECONNREFUSED')
    }
    const repairs = () => guard.repairs()
    const repairedOnce = () => until('a repair is counted', async () => (await repairs()) >= 1)

    const CHANGES: Record<string, () => Promise<unknown>> = {
      'flushes the filter table': () => both('-F'),
      'flushes the mangle table': () => both('-t', 'mangle', '-F'),
      'flushes the nat table': () => both('-t', 'nat', '-F'),
      // A chain that was repaired already cannot be deleted.
      'flushes and deletes all chains': async () => {
        for (const table of ['filter', 'mangle', 'nat'])
          for (const ip of ['ip', 'ip6'])
            for (const command of ['-F', '-X'])
              await node.run('node', [`${ip}tables-${variant}`, '-w', '-t', table, command])
      },
      'restores another ruleset': async () => {
        for (const ip of ['ip', 'ip6'])
          await node.must(
            'node',
            [`${ip}tables-${variant}-restore`],
            '*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n*mangle\nCOMMIT\n*nat\nCOMMIT\n',
          )
      },
      'accepts before our jump': () => both('-I', 'FORWARD', '-j', 'ACCEPT'),
      'accepts before our drop': () => both('-t', 'mangle', '-I', 'POSTROUTING', '-j', 'ACCEPT'),
      'deletes our jump': () => both('-D', 'FORWARD', '-j', 'POD2IAM-FORWARD'),
      'accepts in our chain': () => both('-I', 'POD2IAM-FORWARD', '-j', 'ACCEPT'),
      'changes the rules of one family only': () => iptables('ip6', '-F'),
      ...(variant === 'nft'
        ? { 'flushes all of nftables': () => node.must('node', ['nft', 'flush ruleset']) }
        : // With iptables-nft only known chains are read. A chain without a jump to it has no effect.
          { 'adds a chain of our name': () => both('-N', 'POD2IAM-OTHER') }),
    }
    describe('while it watches', () => {
      before(start)
      after(cleanUp)
      for (const [what, change] of Object.entries(CHANGES))
        test(`repairs when somebody ${what}`, async () => {
          const [before, count] = [await ours(), await repairs()]
          await change()
          await until('a repair is counted', async () => (await repairs()) > count)
          await until('the rules are as before', async () => (await ours()) === before)
          await refused()
          await guard.becomes('ready')
        })

      if (variant === 'legacy') {
        const flushes = {
          'all chains of a table': ['-F'],
          'the chain that forwards': ['-F', 'FORWARD'],
          'all chains of mangle': ['-t', 'mangle', '-F'],
          'all chains of nat': ['-t', 'nat', '-F'],
        }
        for (const [what, args] of Object.entries(flushes))
          for (const ip of ['ip', 'ip6'])
            test(`notices a flush of ${what} (${ip}tables) at once, and not only at its next reading`, async () => {
              const before = await ours()
              const seen = () => guard.metric('repairs_total{cause="event"}')
              // The regular reading, every second, may come first.
              await until('a repair caused by an event', async () => {
                const [count, earlier] = [await repairs(), await seen()]
                await iptables(ip, ...args)
                await until('a repair', async () => (await repairs()) > count)
                return (await seen()) > earlier
              })
              await until('the rules are as before', async () => (await ours()) === before)
            })
      }
    })

    describe('when it is started again', () => {
      beforeEach(start)
      afterEach(cleanUp)

      test('refuses pods at once, and reports its backend', async () => {
        await refused()
        assert.equal(await guard.metric('block_verified'), 1)
        assert.equal(await guard.metric(`info{backend="iptables-${variant}",mode="enforce"}`), 1)
        const status = JSON.parse(await node.must('node', [process.execPath, MAIN, 'status', '--json']))
        assert.equal(status.backend, `iptables-${variant}`)
        assert.ok(
          guard.logs.some(
            ({ msg, backend }) => msg === 'backend chosen' && backend === `iptables-${variant}`,
          ),
        )
        await until(
          'the broker knows',
          async () => !(await whyUnguarded(node.machine.path('/run/pod2iam'), Date.now())),
        )
      })

      test('does not repair anything after the regular changes of kube-proxy', async () => {
        const sync = [
          '*filter',
          ':KUBE-FORWARD - [0:0]',
          ':KUBE-SERVICES - [0:0]',
          '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
          'COMMIT',
          '*nat',
          ':KUBE-SERVICES - [0:0]',
          'COMMIT',
          '',
        ].join('\n')
        // Its jumps are appended, when they are missing.
        for (const ip of ['ip', 'ip6'])
          for (let round = 1; round <= 3; round++)
            await node.must('node', [`${ip}tables-${variant}-restore`, '--noflush'], sync)
        await both('-A', 'FORWARD', '-j', 'KUBE-FORWARD')
        await both('-t', 'nat', '-A', 'PREROUTING', '-j', 'KUBE-SERVICES')
        const before = await ours()
        // If these had caused a repair, there would now be more than one.
        await iptables('ip', '-t', 'mangle', '-F', 'POD2IAM-POSTROUTING')
        await repairedOnce()
        assert.equal(await repairs(), 1)
        await until('the rules are as before', async () => (await ours()) === before)
        assert.ok((await saved()).includes('-A FORWARD -j KUBE-FORWARD'))
      })

      test('refuses a Service address with DNAT to the metadata address, and an established connection', async () => {
        await guard.end('SIGTERM')
        await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
        await iptables(
          'ip',
          '-t',
          'nat',
          '-A',
          'PREROUTING',
          '-d',
          '10.96.0.50',
          '-p',
          'tcp',
          '-j',
          'DNAT',
          '--to-destination',
          '169.254.169.254',
        )
        await both('-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'ESTABLISHED', '-j', 'ACCEPT')
        const agent = await node.agent('pod1')
        assert.equal(await agent.open({ host: '169.254.169.254', port: 80, id: 'kept' }), 'aws')
        assert.equal(await pod('10.96.0.50'), 'aws')
        guard = await startGuard(node, ['--backend=iptables', NO_POLL], wrapper)
        await guard.becomes('ready')
        assert.equal(await pod('10.96.0.50'), 'ECONNREFUSED')
        assert.equal(await agent.say({ id: 'kept', text: 'and now?' }), 'ECONNRESET')
      })

      test('keeps its rules over SIGTERM, SIGKILL and a new start, without a gap', async () => {
        const agent = await node.agent('pod1')
        await agent.hammer({ host: '169.254.169.254', port: 80 })
        const before = await ours()
        const terminated = await guard.end('SIGTERM')
        assert.equal(terminated.code, 0)
        for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
          guard = await startGuard(node, ['--backend=iptables', NO_POLL], wrapper)
          await guard.becomes('ready')
          await guard.end(signal)
          assert.equal(await ours(), before)
        }
        const { tried, gaps } = await agent.rest({})
        assert.ok(tried > 100, `${tried} probes`)
        assert.deepEqual(gaps, [])
      })

      test('counts refused packets over repairs', async () => {
        const before = await ours()
        for (const round of [1, 2]) {
          await refused()
          await both('-F', 'POD2IAM-OUTPUT')
          await until(`repair ${round}`, async () => (await repairs()) >= round)
          await until('it is done', async () => (await ours()) === before)
        }
        const counted = () => guard.metric('packets_total{rule="metadata_refused"}')
        // The check after a repair reports the packets that the repair counted.
        await until('the count', async () => (await counted()) >= 4)
        assert.equal(await counted(), 4)
      })

      test('counts refused packets over a change of the interfaces into the node, for which the rules are written anew', async () => {
        const refusedPackets = () => guard.metric('packets_total{rule="metadata_refused"}')
        const before = await refusedPackets()
        await refused()
        const tunnel = ['tunnel9', 'type', 'vxlan', 'id', '9', 'dstport', '4799', 'dev', 'eth0']
        await node.must('node', ['ip', 'link', 'add', ...tunnel])
        try {
          await until('the tunnel leads into the node', async () =>
            (await saved()).some((line) => line.includes('-i tunnel9 ')),
          )
          await until('the count', async () => (await refusedPackets()) >= before + 2)
          assert.equal(await refusedPackets(), before + 2)
          assert.equal(await repairs(), 0)
        } finally {
          await node.must('node', ['ip', 'link', 'del', 'tunnel9'])
        }
      })

      if (variant === 'legacy')
        test('blocks and reads back its rules without the match for canaries, and logs the limitation', async () => {
          await guard.end('SIGTERM')
          await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
          // All matches of iptables but that one.
          const script =
            'for d in /usr/lib/*/xtables; do for f in $d/*; do ln -s $f /run/xtables-without/; done; done; rm /run/xtables-without/libxt_recent.so'
          await node.must('node', ['sh', '-ec', `mkdir /run/xtables-without; ${script}`])
          const without = ['env', 'XTABLES_LIBDIR=/run/xtables-without', ...wrapper]
          guard = await startGuard(node, ['--backend=iptables', NO_POLL], without)
          await guard.becomes('ready')
          await refused()
          assert.ok((await saved()).every((line) => !line.includes('recent')))
          const limited = guard.logs.find(({ msg }) => msg === 'backend limited')
          assert.match(String(limited?.detail), /load the module xt_recent/)
          await both('-F')
          await repairedOnce()
          await refused()
        })

      if (variant === 'legacy')
        test('does not count the block as verified while it waits for the lock to repair it', async () => {
          const holder = node.spawn('node', ['flock', '--close', '/run/xtables.lock', 'sleep', '60'])
          try {
            await until(
              'the lock is held',
              async () =>
                (await node.run('node', ['flock', '--nonblock', '/run/xtables.lock', 'true'])).code !== 0,
            )
            // A program that does not use the lock flushes the chains.
            await node.must(
              'node',
              ['env', 'XTABLES_LOCKFILE=/run/other.lock', 'iptables-legacy-restore', '--noflush'],
              '*filter\n-F POD2IAM-FORWARD\nCOMMIT\n*mangle\n-F POD2IAM-POSTROUTING\nCOMMIT\n',
            )
            await guard.becomes('block-not-verified')
            assert.match((await guard.readiness()).detail ?? '', /was changed, and is being loaded again/)
            assert.equal(await repairs(), 0)
          } finally {
            holder.kill('SIGKILL')
          }
          await guard.becomes('ready')
          await refused()
          assert.equal(await repairs(), 1)
        })

      for (const how of ['remove --open-this-node', 'guard --mode=remove'])
        test(`is removed with exactly its own rules by ${how}`, async () => {
          await guard.end('SIGTERM')
          await both('-A', 'FORWARD', '-i', 'lo', '-j', 'DROP')
          await both('-t', 'nat', '-N', 'OTHER')
          const others = (await saved()).filter((line) => !line.includes('POD2IAM'))
          if (how.startsWith('guard')) {
            guard = await startGuard(node, ['--mode=remove'], wrapper)
            await guard.becomes('removed')
          } else await node.must('node', [...wrapper, process.execPath, MAIN, ...how.split(' ')])
          assert.deepEqual(await saved(), others)
          assert.notEqual((await node.run('node', ['ip', 'link', 'show', BROKER_LINK])).code, 0)
          assert.equal(await pod('169.254.169.254'), 'aws')
        })
    })
  })
