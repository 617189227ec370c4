/** Every line of the ruleset of --mode=audit has an effect. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, METADATA_ADDRESSES } from '../../common/addresses.ts'
import { deleteTable, loadTable, readTable } from '../../node-guard/firewall/nft/table.ts'
import { auditRuleset, GUARD_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import {
  AS_DESIGNED,
  type Outcomes,
  prepare,
  prepareWays,
  probe,
  probeWays,
  RULES,
  WAYS_AS_DESIGNED,
  WITHOUT_RULES,
} from './battery.ts'
import { MISSED, without } from './lines.ts'
import { nodeExec, openNode, POD1, type TestNode, UNLINKED } from './node.ts'

const RULESET = auditRuleset({
  metadata: METADATA_ADDRESSES,
  broker: [...BROKER_ADDRESSES, ...UNLINKED],
  uplinks: ['eth0'],
  inner: RULES.inner,
  outer: RULES.outer,
})

/** DNAT from the metadata service to another host, whose answers come back through the node, and DNAT to the service. */
const NAT = `table inet test_nat {
  chain pre {
    type nat hook prerouting priority -100; policy accept;
    ip daddr 169.254.169.254 tcp dport 8090 dnat ip to 10.0.0.2:80
    ip6 daddr fd00:ec2::254 tcp dport 8090 dnat ip6 to [fd00:10::2]:80
    ip daddr 10.96.0.50 tcp dport 80 dnat ip to 169.254.169.254:80
    ip6 daddr fd00:96::50 tcp dport 80 dnat ip6 to [fd00:ec2::254]:80
  }
}`
const NATTED = [
  ['169.254.169.254', 8090],
  ['fd00:ec2::254', 8090],
  ['10.96.0.50', 80],
  ['fd00:96::50', 80],
] as const

const UDP = 'pod → broker without link, UDP'

describe('every line of the ruleset of --mode=audit is needed', needsNamespaces(), () => {
  let node: TestNode
  before(async () => {
    node = await openNode()
    await prepare(node)
    await prepareWays(node)
    await node.must('node', ['nft', '-f', '-'], NAT)
  })
  after(() => node?.close())

  async function effect(ruleset: string): Promise<Outcomes> {
    const exec = nodeExec(node)
    await deleteTable(exec, GUARD_TABLE)
    const first = await loadTable(exec, ruleset)
    if (!first.ok) return { load: first.detail }
    await loadTable(exec, ruleset)
    const again = await readTable(exec, GUARD_TABLE)
    const same = again.ok && again.content?.text === first.loaded?.text
    const pod = await node.agent('pod1')
    const outcomes: Record<string, string> = {
      load: 'accepted',
      'loaded again': same ? 'the same' : 'different',
    }
    for (const [host, port] of NATTED) outcomes[`${host} ${port}`] = (await pod.tcp({ host, port })).outcome
    outcomes[UDP] = await pod.udp({ host: UNLINKED[0], port: 80, payload: 'x', wait: 100 })
    Object.assign(outcomes, await probe(node), await probeWays(node))
    const after = await readTable(exec, GUARD_TABLE)
    if (!after.ok || after.content === undefined) return { ...outcomes, read: 'failed' }
    for (const [name, packets] of Object.entries(after.content.packets))
      outcomes[`counter ${name}`] = packets > 0 ? 'counts' : 'counts nothing'
    for (const [name, elements] of Object.entries(after.content.added))
      outcomes[`set ${name}`] = elements
        .map(({ value }) => value)
        .sort()
        .join(' ')
    return outcomes
  }

  test('each line, when it is removed, changes a count or the fate of a packet', async (t) => {
    const whole = await effect(RULESET)
    const metadata = Object.keys(AS_DESIGNED).filter((name) => name.includes('metadata'))
    const expected: Record<string, string> = {
      load: 'accepted',
      'loaded again': 'the same',
      [UDP]: 'EHOSTUNREACH',
      ...AS_DESIGNED,
      ...WAYS_AS_DESIGNED,
      ...Object.fromEntries(metadata.map((name) => [name, WITHOUT_RULES[name] ?? ''])),
    }
    for (const [host, port] of NATTED) expected[`${host} ${port}`] = 'aws'
    for (const name of ['audit_asked', 'audit_taken', 'audit_led', 'broker_outside', 'broker_forwarded'])
      expected[`counter ${name}`] = 'counts'
    for (const sight of ['asked', 'taken', 'led'])
      for (const [index, family] of [4, 6].entries()) expected[`set ${sight}${family}`] = POD1[index] ?? ''
    assert.deepEqual<Outcomes>(whole, expected)
    for (const { line, number, rest } of without(RULESET))
      await t.test(`line ${number}: ${line}`, async () => {
        const outcome = await effect(rest)
        assert.notDeepEqual(outcome, whole, `nothing changes without line ${number}: ${line}`)
        if (outcome.load !== 'accepted') assert.match(String(outcome.load), MISSED)
      })
  })
})
