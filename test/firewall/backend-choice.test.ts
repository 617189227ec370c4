/** Which backend the guard chooses on which node, how it reports this, and how it removes the rules of another. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { whyUnguarded } from '../../common/firewall-state.ts'
import { GUARD_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import {
  ADMIN_AND_RAW,
  type GuardProcess,
  NET_ADMIN_ONLY,
  NO_CAPABILITY,
  startGuard,
} from './guard-process.ts'
import { MAIN, openNode, type TestNode } from './node.ts'
import { IPTABLES_TOOLS, withoutTools } from './without-tools.ts'

/** The output of nft on a kernel without nf_tables. */
const NO_NF_TABLES = `echo 'netlink: Error: cache initialization failed: Protocol not supported' >&2; exit 1`
const IPTABLES_NFT = IPTABLES_TOOLS.filter((name) => name.includes('-nft'))
const NO_POLL = '--poll-interval=5m'

describe('the backend of firewall guard', needsNamespaces(), () => {
  let node: TestNode
  let guards: GuardProcess[] = []
  before(async () => {
    node = await openNode()
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
  })
  after(() => node?.close())
  afterEach(async () => {
    for (const guard of guards) await guard.end('SIGKILL')
    guards = []
    await node.run('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
  })

  const start = async (flags: readonly string[], wrapper: readonly string[]) => {
    const guard = await startGuard(node, [NO_POLL, ...flags], wrapper)
    guards.push(guard)
    return guard
  }
  const refused = async () => {
    const agent = await node.agent('pod1')
    for (const host of ['169.254.169.254', 'fd00:ec2::254'])
      assert.equal((await agent.tcp({ host, port: 80 })).outcome, 'ECONNREFUSED')
  }
  const status = async () => {
    const { stdout } = await node.run('node', [process.execPath, MAIN, 'status', '--json'])
    return JSON.parse(stdout) as { backend: string; warnings: { code: string; detail: string }[] }
  }
  const left = async () => {
    const has = async (...argv: string[]) =>
      (await node.run('node', argv)).stdout.includes(argv[0] === 'nft' ? GUARD_TABLE : 'POD2IAM')
    return [
      ...((await has('nft', 'list', 'tables')) ? ['nft'] : []),
      ...((await has('iptables-nft-save')) ? ['iptables-nft'] : []),
      ...((await has('iptables-legacy-save')) ? ['iptables-legacy'] : []),
    ]
  }
  /** The name of the chosen backend, and the reason. */
  const choice = (guard: GuardProcess) => {
    const line = guard.logs.find(({ msg }) => msg === 'backend chosen')
    return { backend: line?.backend, why: String(line?.why) }
  }

  test('is nft if all backends work', async () => {
    const guard = await start([], ADMIN_AND_RAW)
    await guard.becomes('ready')
    assert.equal(choice(guard).backend, 'nft')
    assert.deepEqual(await left(), ['nft'])
    assert.equal(
      (await status()).warnings.find(({ code }) => code === 'backend-fallback'),
      undefined,
    )
  })

  test('is iptables on a node without nft, with the reason in log and status, and changes of rules are still noticed', async () => {
    const guard = await start([], [...withoutTools(['nft']), ...NET_ADMIN_ONLY])
    await guard.becomes('ready')
    assert.equal(choice(guard).backend, 'iptables-nft')
    assert.match(choice(guard).why, /^nft: nft cannot be run \(spawn nft E\w+\): .* install nftables$/)
    await refused()
    await until('the status shows it', async () => (await status()).backend === 'iptables-nft')
    const warning = (await status()).warnings.find(({ code }) => code === 'backend-fallback')
    assert.match(warning?.detail ?? '', /nft cannot be run/)
    await node.must('node', ['iptables-nft', '-F'])
    await until('the repair', async () => (await guard.repairs()) === 1)
    await guard.becomes('ready')
    await refused()
  })

  test('is iptables-legacy on a node whose kernel has no nf_tables', async () => {
    const fakes = Object.fromEntries(['nft', ...IPTABLES_NFT].map((name) => [name, NO_NF_TABLES]))
    const guard = await start([], [...withoutTools([], fakes), ...ADMIN_AND_RAW])
    await guard.becomes('ready')
    assert.equal(choice(guard).backend, 'iptables-legacy')
    assert.match(choice(guard).why, /load the modules nf_tables.*; iptables-nft: /)
    await refused()
  })

  test('is nft on a node without iptables', async () => {
    const guard = await start([], [...withoutTools(IPTABLES_TOOLS), ...NET_ADMIN_ONLY])
    await guard.becomes('ready')
    assert.equal(choice(guard).backend, 'nft')
    await refused()
  })

  test('is none on a node without both, and the guard is not ready and names what each of them lacks', async () => {
    const guard = await start([], [...withoutTools(['nft', ...IPTABLES_TOOLS]), ...NET_ADMIN_ONLY])
    await guard.becomes('block-not-verified')
    const { status, detail = '' } = await guard.readiness()
    assert.equal(status, 503)
    assert.match(
      detail,
      /^no backend works on this node: nft: .*; iptables-\w+: .*; iptables-\w+: .* install iptables$/,
    )
    await guard.end('SIGTERM')
    const remover = await start(
      ['--mode=remove'],
      [...withoutTools(['nft', ...IPTABLES_TOOLS]), ...NET_ADMIN_ONLY],
    )
    await remover.becomes('block-not-verified')
  })

  test('is not replaced by another if it is set', async () => {
    const guard = await start(['--backend=nft'], [...withoutTools(['nft']), ...NET_ADMIN_ONLY])
    await guard.becomes('block-not-verified')
    assert.match((await guard.readiness()).detail ?? '', /^nft cannot be run/)
    assert.deepEqual(await left(), [])
  })

  test('replaces another backend’s rules once its own are in place, without a gap', async () => {
    const pod = await node.agent('pod1')
    const steps = [
      { flags: ['--backend=nft'], name: /^nft$/ },
      { flags: ['--backend=iptables'], name: /^iptables-\w+$/ },
      { flags: [], name: /^nft$/ },
    ]
    for (const [step, { flags, name }] of steps.entries()) {
      const guard = await start(flags, ADMIN_AND_RAW)
      await guard.becomes('ready')
      if (step === 0) await pod.hammer({ host: '169.254.169.254', port: 80 })
      await until(`only ${name} is left`, async () => name.test((await left()).join()))
      await guard.end('SIGTERM')
    }
    const { tried, gaps } = await pod.rest({})
    assert.ok(tried > 100, `${tried} probes`)
    assert.deepEqual(gaps, [])
  })

  test('does not replace another backend’s rules if its own cannot be verified', async () => {
    const first = await start(['--backend=iptables'], ADMIN_AND_RAW)
    await first.becomes('ready')
    await first.end('SIGTERM')
    const second = await start(['--backend=nft'], [...withoutTools(['nft']), ...ADMIN_AND_RAW])
    await second.becomes('block-not-verified')
    assert.match((await left()).join(), /^iptables-\w+$/)
    await refused()
  })

  test('does not matter for --mode=remove, which removes the rules of every backend', async () => {
    for (const [flags, fakes] of [
      [['--backend=iptables'], Object.fromEntries(IPTABLES_NFT.map((name) => [name, NO_NF_TABLES]))],
      [
        ['--backend=iptables'],
        Object.fromEntries(['iptables-legacy-save', 'ip6tables-legacy-save'].map((name) => [name, 'exit 3'])),
      ],
    ] as const) {
      const guard = await start(flags, [...withoutTools([], fakes), ...ADMIN_AND_RAW])
      await guard.becomes('ready')
      await guard.end('SIGTERM')
    }
    assert.deepEqual(await left(), ['iptables-nft', 'iptables-legacy'])
    const remover = await start(['--mode=remove'], ADMIN_AND_RAW)
    await remover.becomes('removed')
    assert.deepEqual(await left(), [])
  })

  test('keeps rules of iptables-legacy that cannot be read, with an error in mode remove and a warning in other modes', async () => {
    const remedy = /iptables-legacy has tables on this node that cannot be read.+NET_RAW/
    const fakes = Object.fromEntries(['nft', ...IPTABLES_NFT].map((name) => [name, NO_NF_TABLES]))
    const guard = await start([], [...withoutTools([], fakes), ...ADMIN_AND_RAW])
    await guard.becomes('ready')
    await guard.end('SIGTERM')
    const remover = await start(['--mode=remove'], NET_ADMIN_ONLY)
    await remover.becomes('block-not-verified')
    assert.match((await remover.readiness()).detail ?? '', remedy)
    assert.deepEqual(await left(), ['iptables-legacy'])
    await remover.end('SIGTERM')
    const { code, stderr } = await node.run('node', [
      ...NET_ADMIN_ONLY,
      process.execPath,
      MAIN,
      'remove',
      '--open-this-node',
    ])
    assert.equal(code, 1)
    assert.match(stderr, remedy)
    const next = await start([], NET_ADMIN_ONLY)
    await next.becomes('ready')
    await until('the status warns', async () =>
      (await status()).warnings.some(({ code, detail }) => code === 'other-backend' && remedy.test(detail)),
    )
    assert.equal(next.logs.filter(({ msg }) => msg === 'rules of another backend may be left').length, 1)
    assert.deepEqual(await left(), ['nft', 'iptables-legacy'])
    await next.end('SIGTERM')
    const allowed = await start(['--mode=remove'], ADMIN_AND_RAW)
    await allowed.becomes('removed')
    assert.deepEqual(await left(), [])
  })

  describe('that fails', () => {
    const LEGACY = withoutTools(
      [],
      Object.fromEntries(['nft', ...IPTABLES_NFT].map((name) => [name, NO_NF_TABLES])),
    )
    const FAILURES: Record<string, { wrapper: readonly string[]; sentence: RegExp; hold?: boolean }> = {
      'no capability': { wrapper: NO_CAPABILITY, sentence: /NET_ADMIN/ },
      'no raw socket for iptables-legacy': {
        wrapper: [...LEGACY, ...NET_ADMIN_ONLY],
        sentence: /NET_ADMIN and NET_RAW/,
      },
      'a full disk under the lock file': {
        wrapper: [
          ...LEGACY,
          'sh',
          '-c',
          'mkdir -p /run/full && mount -t tmpfs -o nr_inodes=1 tmpfs /run/full && XTABLES_LOCKFILE=/run/full/lock exec "$@"',
          'sh',
          ...ADMIN_AND_RAW,
        ],
        sentence: /cannot open its lock file \(.*No space left on device\): mount .* free space/,
      },
      'a lock that another holds': {
        wrapper: [...LEGACY, ...ADMIN_AND_RAW],
        sentence: /could not get \/run\/xtables\.lock within 5 s/,
        hold: true,
      },
    }
    const lockIsHeld = () =>
      until(
        'the lock is held',
        async () => (await node.run('node', ['flock', '--nonblock', '/run/xtables.lock', 'true'])).code !== 0,
      )
    for (const [what, { wrapper, sentence, hold }] of Object.entries(FAILURES))
      test(`with ${what} is reported in one sentence, and the node is neither ready nor guarded`, async () => {
        const holder = hold
          ? node.spawn('node', ['flock', '--close', '/run/xtables.lock', 'sleep', '60'])
          : undefined
        try {
          if (hold) await lockIsHeld()
          const guard = await start(['--backend=iptables'], wrapper)
          await guard.becomes('block-not-verified')
          const { status, detail = '' } = await guard.readiness()
          assert.equal(status, 503)
          assert.match(detail, sentence)
          assert.doesNotMatch(detail, /\n/)
          await until('the broker knows', async () =>
            sentence.test((await whyUnguarded(node.machine.path('/run/pod2iam'), Date.now())) ?? ''),
          )
        } finally {
          holder?.kill('SIGKILL')
        }
      })

    test('gets ready once the lock is released', async () => {
      const holder = node.spawn('node', ['flock', '--close', '/run/xtables.lock', 'sleep', '60'])
      await lockIsHeld()
      const guard = await start(['--backend=iptables'], [...LEGACY, ...ADMIN_AND_RAW])
      holder.kill('SIGKILL')
      await guard.becomes('ready')
      await refused()
    })
  })

  test('cannot be iptables with --owned-table, which is refused in one sentence with exit code 2', async () => {
    const flags = ['--backend=iptables', '--owned-table=true']
    const { code, stderr } = await node.run('node', [process.execPath, MAIN, 'guard', ...flags])
    assert.equal(code, 2)
    assert.match(stderr, /^pod2iam firewall guard: --owned-table needs nft: [^\n]+\.\n$/)
  })

  test('needs no --host-interface, which is accepted with a warning', async () => {
    const guard = await start(['--host-interface=eni+'], NET_ADMIN_ONLY)
    await guard.becomes('ready')
    assert.ok(
      guard.logs.some(
        ({ level, detail }) =>
          level === 'warn' && /--host-interface eni\+ has no effect/.test(String(detail)),
      ),
    )
  })
})

describe('firewall guard on a node that never had iptables', needsNamespaces(), () => {
  test('does not need iptables to remove its rules', async () => {
    const node = await openNode()
    const wrapper = [...withoutTools(IPTABLES_TOOLS), ...NET_ADMIN_ONLY]
    try {
      const guard = await startGuard(node, [NO_POLL], wrapper)
      await guard.becomes('ready')
      assert.equal(await guard.metric('info{backend="nft",mode="enforce"}'), 1)
      await guard.end('SIGTERM')
      const remover = await startGuard(node, ['--mode=remove'], wrapper)
      await remover.becomes('removed')
      assert.equal(await node.must('node', ['nft', 'list', 'tables']), '')
      await remover.end('SIGTERM')
    } finally {
      await node.close()
    }
  })
})
