/** How the guard evaluates the output of nft, without a kernel. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findBackends } from '../../node-guard/firewall/block/backends.ts'
import { type Block, createBlock } from '../../node-guard/firewall/block/block.ts'
import { createChoice } from '../../node-guard/firewall/block/choice.ts'
import { tableCommands } from '../../node-guard/firewall/nft/commands.ts'
import { parseTable } from '../../node-guard/firewall/nft/table-content.ts'
import { parseUplinks } from '../../node-guard/firewall/node/uplinks.ts'
import type { Exec, ExecResult } from '../../node-guard/firewall/process/exec.ts'
import { firewallStateOf, readinessOf } from '../../node-guard/firewall/report/report.ts'
import { guardRuleset } from '../../node-guard/firewall/rules/guard-nft.ts'
import { silentLog } from '../support/log.ts'

const TABLE = { table: { family: 'inet', name: 'pod2iam_guard', handle: 1 } }
const rule = (text: string, handle = 1) => ({
  rule: { family: 'inet', table: 'pod2iam_guard', chain: 'forward', handle, expr: [{ match: text }] },
})
const listing = (...objects: object[]) =>
  JSON.stringify({ nftables: [{ metainfo: { version: '1' } }, TABLE, ...objects] })
const RULES = { metadata: ['169.254.169.254'], broker: ['169.254.170.24'], uplinks: ['eth0'] }
const { chains } = tableCommands(guardRuleset(RULES)).shape
/** A listing with as many rules in each chain as the guard loads, those of `forward` in this order. */
const loaded = (forward: readonly object[] = forwardRules()) => {
  const others = Object.entries(chains).filter(([name]) => name !== 'forward')
  return listing(
    ...Object.keys(chains).map((name) => ({
      chain: { family: 'inet', table: 'pod2iam_guard', name, handle: 1 },
    })),
    ...others.flatMap(([chain, rules]) =>
      Array.from({ length: rules }, () => ({
        rule: { family: 'inet', table: 'pod2iam_guard', chain, handle: 1, expr: [{ accept: null }] },
      })),
    ),
    ...forward,
  )
}
const forwardRules = (handle = 1) =>
  Array.from({ length: chains.forward ?? 0 }, (_, index) => rule(String(index), handle))
const ok = (stdout: string): ExecResult => ({ code: 0, stdout, stderr: '' })
const failed = (code: ExecResult['code'], stderr: string): ExecResult => ({ code, stdout: '', stderr })

/** A block with an nft that loads and lists as the test says. */
function blockWith(nft: { load: () => ExecResult; list: () => ExecResult }): {
  block: Block
  loads: () => number
} {
  let loads = 0
  const exec: Exec = async (command, args) => {
    if (command !== 'nft') return failed('missing', `spawn ${command} ENOENT`)
    if (args.includes('list')) return nft.list()
    loads++
    return nft.load()
  }
  const block = createBlock({
    metadata: RULES.metadata,
    broker: RULES.broker,
    choice: createChoice({
      backends: findBackends(exec, 'nft'),
      follow: async () => () => {},
      log: silentLog,
    }),
    topology: () => ({ uplinks: RULES.uplinks, inner: [], outer: [] }),
    now: () => 1000,
    log: silentLog,
  })
  return { block, loads: () => loads }
}

test('a table that is read back as loaded is verified, whatever its handles, and is not loaded again', async () => {
  let handle = 3
  const { block, loads } = blockWith({
    load: () => ok(''),
    list: () => ok(loaded(forwardRules(handle++))),
  })
  await block.check('start')
  await block.check('poll')
  assert.equal(block.state().verified, true)
  assert.equal(loads(), 1)
})

test('a table that differs right after loading is not verified', async () => {
  for (const list of [
    ok(loaded(forwardRules().slice(1))),
    ok(loaded([...forwardRules(), rule('b')])),
    ok(loaded([...forwardRules(), { set: { family: 'inet', table: 'pod2iam_guard', name: 's' } }])),
    ok(loaded([...forwardRules(), { map: { family: 'inet', table: 'pod2iam_guard', name: 'm' } }])),
    ok(loaded([...forwardRules(), { chain: { family: 'inet', table: 'pod2iam_guard', name: 'x' } }])),
    ok(loaded().replace('"table":{', '"table":{"flags":["dormant"],')),
    ok(listing()),
    failed(1, 'Error: No such file or directory\nlist table inet pod2iam_guard'),
    failed('timeout', ''),
  ]) {
    const { block } = blockWith({ load: () => ok(''), list: () => list })
    await block.check('start')
    assert.equal(block.state().verified, false)
    assert.ok(block.state().detail)
  }
})

test('rules in another order are not verified', async () => {
  let rules = forwardRules()
  const { block } = blockWith({ load: () => ok(''), list: () => ok(loaded(rules)) })
  await block.check('start')
  assert.equal(block.state().verified, true)
  rules = rules.toReversed()
  await block.check('poll')
  assert.equal(block.state().verified, false)
})

const FAILURES: Record<string, [ExecResult, RegExp]> = {
  'nft missing': [failed('missing', 'spawn nft ENOENT'), /install nftables/],
  'no capability': [
    failed(1, 'netlink: Error: cache initialization failed: Operation not permitted'),
    /root with the NET_ADMIN capability/,
  ],
  'no kernel support': [
    failed(1, 'Error: Could not process rule: No such file or directory\nreject with tcp reset'),
    /load the modules nf_tables/,
  ],
  'no nf_tables at all': [
    failed(1, 'netlink: Error: cache initialization failed: Protocol not supported'),
    /nf_tables/,
  ],
  'nft hanging': [failed('timeout', ''), /did not end in time/],
  'anything else': [
    failed(1, 'internal:0:0-0: Error: something new'),
    /nft failed: internal:0:0-0: Error: something new$/,
  ],
}
for (const [what, [result, sentence]] of Object.entries(FAILURES))
  test(`a failure (${what}) is reported in one sentence, makes the guard not ready, and is retried`, async () => {
    let broken = true
    const { block, loads } = blockWith({
      load: () => (broken ? result : ok('')),
      list: () => (broken ? failed(1, 'Error: No such file or directory') : ok(loaded())),
    })
    const ready = () =>
      readinessOf(
        {
          mode: 'enforce',
          block: block.state(),
          link: { up: true, changed: false },
          owned: undefined,
          surroundings: undefined,
          sightings: undefined,
          stateFault: undefined,
          pollIntervalMs: 1000,
        },
        1000,
      )
    await block.check('start')
    assert.match(block.state().detail ?? '', sentence)
    assert.doesNotMatch(block.state().detail ?? '', /\n/)
    assert.equal(ready().ready, false)
    broken = false
    await block.check('poll')
    assert.equal(ready().ready, true)
    assert.equal(loads(), 2)
  })

test('a verification counts for three intervals, and at least for five seconds', async () => {
  const { block } = blockWith({ load: () => ok(''), list: () => ok(loaded()) })
  await block.check('start')
  const report = {
    mode: 'enforce' as const,
    block: block.state(),
    link: { up: true, changed: false },
    owned: undefined,
    surroundings: undefined,
    sightings: undefined,
    stateFault: undefined,
  }
  for (const [pollIntervalMs, until] of [
    [10_000, 31_000],
    [100, 6000],
  ] as const) {
    assert.equal(readinessOf({ ...report, pollIntervalMs }, until).ready, true)
    assert.equal(readinessOf({ ...report, pollIntervalMs }, until + 1).code, 'verification-stale')
    assert.equal(firewallStateOf({ ...report, pollIntervalMs }).validSeconds, (until - 1000) / 1000)
  }
})

test('anything else in the table than what was loaded is a difference', () => {
  const base = parseTable(listing(rule('a'))).text
  for (const extra of [
    rule('b'),
    { chain: { family: 'inet', table: 'pod2iam_guard', name: 'x', handle: 4 } },
    { set: { family: 'inet', table: 'pod2iam_guard', name: 's', type: 'ipv4_addr', handle: 4 } },
    { map: { family: 'inet', table: 'pod2iam_guard', name: 'm', handle: 4 } },
    { flowtable: { family: 'inet', table: 'pod2iam_guard', name: 'f', handle: 4 } },
    { counter: { family: 'inet', table: 'pod2iam_guard', name: 'c', handle: 4, packets: 0, bytes: 0 } },
  ])
    assert.notEqual(parseTable(listing(rule('a'), extra)).text, base, JSON.stringify(extra))
})

test('counts and handles are no difference', () => {
  const counter = (packets: number, handle: number) => ({
    counter: { family: 'inet', table: 'pod2iam_guard', name: 'c', handle, packets, bytes: packets * 60 },
  })
  const [a, b] = [parseTable(listing(counter(1, 2))), parseTable(listing(counter(5, 7)))]
  assert.equal(a.text, b.text)
  assert.deepEqual(b.packets, { c: 5 })
})

test('uplinks are the interfaces of the default routes of both families, without lo', () => {
  const ipv4 = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0200000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
`
  const zeros = '0'.repeat(32)
  const ipv6 = `${zeros} 00 ${zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1
fd000010000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001     eth2
${zeros} 00 ${zeros} 00 ${zeros} ffffffff 00000001 00000000 00200200       lo
`
  assert.deepEqual(parseUplinks(ipv4, ipv6), ['eth0', 'eth1'])
  assert.deepEqual(parseUplinks('', ''), [])
})
