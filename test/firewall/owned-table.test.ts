/** `--owned-table=true`: the second table, which no other program can flush, and its disadvantages. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import type { Logger } from '../../common/log.ts'
import type { Holder } from '../../node-guard/firewall/nft/owned-holder.ts'
import { createOwnedTable } from '../../node-guard/firewall/nft/owned-table.ts'
import { IMDS_PROBE_TABLE } from '../../node-guard/firewall/node/imds-options.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { GUARD_TABLE, OWNED_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { AS_DESIGNED, prepare, probe, RULES } from './battery.ts'
import { type GuardProcess, startGuard } from './guard-process.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

const HOLDER = 'nft --handle --interactive'

describe('the owned table', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess
  before(async () => {
    node = await openNode()
    await prepare(node)
  })
  after(() => node?.close())
  beforeEach(async () => {
    guard = await startGuard(node, [
      '--owned-table=true',
      '--poll-interval=5m',
      `--metadata-address=${RULES.metadata.join(',')}`,
      `--broker-address=${RULES.broker.join(',')}`,
    ])
    await guard.becomes('ready')
  })
  afterEach(async () => {
    await guard.end('SIGKILL')
    await until('no owned table', async () => !(await has(OWNED_TABLE)))
    await node.run('node', ['nft', `add table ${GUARD_TABLE}; delete table ${GUARD_TABLE}`])
  })

  const nft = (...command: string[]) => node.run('node', ['nft', command.join(' ')])
  const has = async (table: string) => (await nft('list table', table)).code === 0
  const refused = async () => {
    const agent = await node.agent('pod1')
    for (const host of ['169.254.169.254', 'fd00:ec2::254'])
      assert.equal((await agent.tcp({ host, port: 80 })).outcome, 'ECONNREFUSED')
  }
  const hammer = async () => {
    const agent = await node.agent('pod1')
    await agent.hammer({ host: '169.254.169.254', port: 80 })
    return async () => {
      const { tried, gaps } = await agent.rest({})
      assert.ok(tried > 20, `${tried} probes`)
      assert.deepEqual(gaps, [])
    }
  }

  test('has by itself the same effect as the plain table', async () => {
    // The monitor is stopped, so that the plain table is not restored meanwhile.
    process.kill(guard.monitorPid('socat'), 'SIGSTOP')
    await nft(`delete table ${GUARD_TABLE}`)
    assert.deepEqual(await probe(node), AS_DESIGNED)
    process.kill(guard.monitorPid('socat'), 'SIGCONT')
  })

  test('keeps the node closed to every connection when other programs flush rules', async () => {
    const noGap = await hammer()
    const whole =
      '#!/usr/sbin/nft -f\nflush ruleset\ntable inet filter {\n chain forward {\n type filter hook forward priority 0; policy accept;\n accept\n }\n}\n'
    for (let round = 0; round < 3; round++) {
      await nft('flush ruleset')
      await node.must('node', ['nft', '-f', '-'], whole)
      for (const command of ['iptables-nft', 'iptables-legacy']) await node.must('node', [command, '-F'])
    }
    await noGap()
    await guard.becomes('ready')
  })

  test('cannot be deleted or changed by other programs', async () => {
    const before = (await nft('list table', OWNED_TABLE)).stdout.replace(/packets.*/g, '')
    for (const command of [
      `delete table ${OWNED_TABLE}`,
      `flush table ${OWNED_TABLE}`,
      `flush chain ${OWNED_TABLE} forward`,
      `insert rule ${OWNED_TABLE} forward accept`,
      `delete chain ${OWNED_TABLE} forward`,
      `add table ${OWNED_TABLE} { flags dormant; }`,
    ]) {
      const { code, stderr } = await nft(command)
      assert.equal(code, 1, command)
      assert.match(stderr, /Operation not permitted|Operation not supported/, command)
    }
    assert.equal((await nft('list table', OWNED_TABLE)).stdout.replace(/packets.*/g, ''), before)
  })

  test('makes another program’s restore of a whole ruleset fail as long as it is held', async () => {
    const restore = ['sh', '-c', '(echo flush ruleset; nft list ruleset) >/run/saved; nft -f /run/saved']
    const { code, stderr } = await node.run('node', restore)
    assert.notEqual(code, 0)
    assert.match(stderr, /Operation not permitted/)
    await guard.end('SIGTERM')
    await until('the table is gone', async () => !(await has(OWNED_TABLE)))
    await node.must('node', restore)
  })

  test('is replaced at once when its process is killed, and meanwhile the plain table blocks', async () => {
    const noGap = await hammer()
    const first = guard.monitorPid(HOLDER)
    process.kill(first, 'SIGKILL')
    await until('another process holds it', () => {
      try {
        return guard.monitorPid(HOLDER) !== first
      } catch {
        return false
      }
    })
    await guard.becomes('ready')
    assert.ok(await has(OWNED_TABLE))
    await noGap()
    assert.ok(
      guard.logs.some(
        ({ level, msg, detail }) =>
          level === 'error' && msg === 'owned table not held' && /ended \(SIGKILL\)/.test(String(detail)),
      ),
    )
  })

  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    test(`ends with the guard on ${signal}, and is held again by a new guard without a gap in the block`, async () => {
      const noGap = await hammer()
      await guard.end(signal)
      await until('the owned table is gone', async () => !(await has(OWNED_TABLE)))
      assert.ok(await has(GUARD_TABLE))
      guard = await startGuard(node, ['--owned-table=true'])
      await guard.becomes('ready')
      assert.ok(await has(OWNED_TABLE))
      await noGap()
    })

  test('follows the default routes', async () => {
    const route = (what: string) => `ip route ${what} default via 10.9.0.2 dev eth1 metric 500`.split(' ')
    await node.must('node', route('add'))
    await until('eth1 is an uplink', async () => /"eth1"/.test((await nft('list table', OWNED_TABLE)).stdout))
    await node.must('node', route('delete'))
    await until(
      'eth1 is no uplink any more',
      async () => !/"eth1"/.test((await nft('list table', OWNED_TABLE)).stdout),
    )
    await refused()
  })

  test('counts packets that are refused while the plain table is gone', async () => {
    const count = () => guard.metric('packets_total{rule="metadata_refused"}')
    process.kill(guard.monitorPid('socat'), 'SIGSTOP')
    await nft(`delete table ${GUARD_TABLE}`)
    await refused()
    // The result is compared with the kernel's own count, since one connection attempt may be several packets on a busy machine.
    const { stdout } = await nft('list counter', OWNED_TABLE, 'metadata_refused')
    const packets = Number(/packets (\d+)/.exec(stdout)?.[1])
    assert.ok(packets >= 2, `${packets} packets`)
    process.kill(guard.monitorPid('socat'), 'SIGCONT')
    await until('the repair', async () => (await guard.repairs()) === 1)
    await until('all are counted', async () => (await count()) >= packets)
    assert.equal(await count(), packets)
  })

  test('replaces a table with its name that has no owner', async () => {
    await guard.end('SIGTERM')
    await until('the owned table is gone', async () => !(await has(OWNED_TABLE)))
    await nft(`add table ${OWNED_TABLE}`)
    guard = await startGuard(node, ['--owned-table=true'])
    await guard.becomes('ready')
    assert.match((await nft('list table', OWNED_TABLE)).stdout, /flags owner/)
  })

  test('makes a second guard not ready, with the reason, while another guard holds it', async () => {
    const second = await startGuard(node, [
      '--owned-table=true',
      '--health-port=9999',
      '--state-dir=/run/second',
      '--poll-interval=100ms',
    ])
    try {
      const detail = () => second.logs.find(({ msg }) => msg === 'owned table not held')?.detail
      await until('it logs the reason', () => detail() !== undefined)
      assert.match(String(detail()), /held by another process: another guard runs on this node/)
      const { code } = await node.run('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
      assert.equal(code, 1)
      await refused()
      // When the first guard ends, the second gets the table.
      await guard.end('SIGTERM')
      await until(
        'the second holds it',
        async () => (await has(OWNED_TABLE)) && second.logs.some(({ msg }) => msg === 'owned table held'),
      )
    } finally {
      await second.end('SIGKILL')
    }
  })

  test('is removed by `remove`, also if a killed process has left it', async () => {
    await guard.end('SIGKILL')
    await until('the owned table is gone', async () => !(await has(OWNED_TABLE)))
    for (const table of [OWNED_TABLE, IMDS_PROBE_TABLE, 'inet another']) await nft(`add table ${table}`)
    await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
    const left = await Promise.all([GUARD_TABLE, OWNED_TABLE, IMDS_PROBE_TABLE, 'inet another'].map(has))
    assert.deepEqual(left, [false, false, false, true])
  })

  test('is shown as held by status and metrics', async () => {
    const status = JSON.parse(await node.must('node', [process.execPath, MAIN, 'status', '--json']))
    assert.equal(status.ownedTable, true)
    assert.equal(await guard.metric('owned_table_held'), 1)
    assert.match(await node.must('node', [process.execPath, MAIN, 'status']), /^owned table +yes$/m)
  })
})

describe('the owned table without a kernel', () => {
  const RULES = { metadata: ['169.254.169.254'], broker: ['169.254.170.24'], uplinks: ['eth0'] }
  const LISTING = 'table inet pod2iam_owned { # handle 1 progname nft\n\tflags owner\n}\n'
  const logs: string[] = []
  const keep = (message: string, fields?: object) => logs.push(`${message} ${JSON.stringify(fields)}`)
  const log: Logger = { debug: keep, info: keep, warn: keep, error: keep }

  const owned = (options: {
    list: () => string | undefined
    hold: (ended: (why: string) => void) => Holder
    lost?: () => void
  }) => {
    const exec: Exec = async () => {
      const stdout = options.list()
      return stdout === undefined
        ? { code: 1, stdout: '', stderr: 'Error: No such file or directory\n' }
        : { code: 0, stdout, stderr: '' }
    }
    return createOwnedTable({ exec, hold: options.hold, lost: options.lost ?? (() => {}), log })
  }

  test('is retried at the next check, and reported in one sentence, if the kernel or nft refuses it', async () => {
    let started = 0
    const table = owned({
      list: () => undefined,
      hold: () => {
        started++
        return { load: async () => 'Operation not supported', end: () => {} }
      },
    })
    await table.check(RULES)
    assert.equal(table.state().held, false)
    assert.match(
      table.state().detail ?? '',
      /^table inet pod2iam_owned cannot be created \(Operation not supported\): .+kernel 5\.12.+$/,
    )
    assert.equal(started, 1)
    await table.check(RULES)
    assert.equal(started, 2)
  })

  test('causes one report and one check if its process ends while it holds the table, and none if it never did', async () => {
    let end = (_why: string) => {}
    let lost = 0
    let loads = true
    let there: string | undefined
    const table = owned({
      list: () => there,
      lost: () => lost++,
      hold: (ended) => {
        end = ended
        return {
          load: async () => {
            there = LISTING
            return loads ? undefined : 'no'
          },
          end: () => {},
        }
      },
    })
    await table.check(RULES)
    assert.equal(table.state().held, true)
    end('SIGKILL')
    assert.equal(table.state().held, false)
    assert.equal(lost, 1)
    there = undefined
    loads = false
    await table.check(RULES)
    end('SIGKILL')
    assert.equal(lost, 1)
  })
})
