/** Every line of the ruleset has an effect: without it the ruleset does not load, or a packet has another fate. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { deleteTable, loadTable, readTable } from '../../node-guard/firewall/nft/table.ts'
import { GUARD_TABLE } from '../../node-guard/firewall/rules/guard-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import {
  AS_DESIGNED,
  type Outcomes,
  prepare,
  prepareWays,
  probe,
  probeWays,
  RULESET,
  WAYS_AS_DESIGNED,
} from './battery.ts'
import { MISSED, without } from './lines.ts'
import { nodeExec, openNode, type TestNode } from './node.ts'

/** The names of the outcomes that differ. */
const differing = (seen: Outcomes, whole: Outcomes) =>
  Object.keys(seen).filter((name) => seen[name] !== whole[name])

describe('every line of the guard’s ruleset is needed', needsNamespaces(), () => {
  let node: TestNode
  before(async () => {
    node = await openNode()
    await prepare(node)
    await prepareWays(node)
  })
  after(() => node?.close())

  /** The effect of a ruleset: it does not load, or its content after two loads and the fate of packets. */
  async function effect(ruleset: string): Promise<Outcomes> {
    const exec = nodeExec(node)
    await deleteTable(exec, GUARD_TABLE)
    const first = await loadTable(exec, ruleset)
    if (!first.ok) return { load: first.detail }
    await loadTable(exec, ruleset)
    const read = await readTable(exec, GUARD_TABLE)
    const again = read.ok && read.content?.text === first.loaded?.text ? 'the same' : 'different'
    return { load: 'accepted', 'loaded again': again, ...(await probe(node)), ...(await probeWays(node)) }
  }

  test('each line, when it is removed, changes the effect of the ruleset', async (t) => {
    const whole: Outcomes = await effect(RULESET)
    assert.deepEqual<Outcomes>(whole, {
      load: 'accepted',
      'loaded again': 'the same',
      ...AS_DESIGNED,
      ...WAYS_AS_DESIGNED,
    })
    for (const { line, number, rest } of without(RULESET))
      await t.test(`line ${number}: ${line}`, async () => {
        // An IPv4 line affects IPv4 packets only, and an IPv6 line IPv6 packets, so a change of the others is an accident.
        const other = line.startsWith('ip ') ? 'IPv6' : line.startsWith('ip6 ') ? 'IPv4' : undefined
        const straysOf = (seen: Outcomes) =>
          other === undefined ? [] : differing(seen, whole).filter((name) => name.includes(other))
        const first = await effect(rest)
        // The effect of a line is the same each time, unlike the loss of a packet on a busy machine.
        const outcome = straysOf(first).length === 0 ? first : await effect(rest)
        assert.notDeepEqual(outcome, whole, `nothing changes without line ${number}: ${line}`)
        assert.deepEqual(straysOf(outcome), [])
        // If nft itself reports that something is missing, the line is needed. Another refusal would be a fault of this test.
        if (outcome.load !== 'accepted') assert.match(String(outcome.load), MISSED)
      })
  })
})
