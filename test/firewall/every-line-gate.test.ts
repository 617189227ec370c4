/** Every line of the pod's two rulesets has an effect (see every-line.test.ts for the guard's). */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, BROKER_PORT, METADATA_ADDRESSES, SIDECAR_PORT } from '../../common/addresses.ts'
import { applyRuleset, deleteTable, readTable } from '../../node-guard/firewall/nft/table.ts'
import { ensureLink } from '../../node-guard/firewall/node/broker-link.ts'
import {
  newPodRuleset,
  proofRuleset,
  REDIRECT_TABLE,
  redirectRuleset,
} from '../../node-guard/firewall/rules/pod-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { MISSED, without } from './lines.ts'
import { nodeExec, openNode, type TestNode } from './node.ts'

describe('every line of the pod’s rulesets is needed', needsNamespaces(), () => {
  let node: TestNode
  before(async () => {
    node = await openNode()
    await ensureLink(nodeExec(node), BROKER_ADDRESSES)
    const [aws, host, pod] = await Promise.all([node.agent('aws'), node.agent('node'), node.agent('pod1')])
    for (const address of ['0.0.0.0', '::']) await aws.listen({ host: address, port: 80, name: 'aws' })
    for (const address of BROKER_ADDRESSES)
      await host.listen({ host: address, port: BROKER_PORT, name: 'broker' })
    for (const address of ['127.0.0.1', '::1']) {
      await pod.listen({ host: address, port: SIDECAR_PORT, name: 'sidecar' })
      await pod.listen({ host: address, port: 15001, name: 'mesh' })
    }
    // A mesh that takes all packets about which no rule before has decided.
    await node.must('pod1', [
      'nft',
      'add table inet mesh; add chain inet mesh out { type nat hook output priority -100; }; add rule inet mesh out meta l4proto tcp oifname != "lo" redirect to :15001',
    ])
  })
  after(() => node?.close())

  async function effect(ruleset: string): Promise<Record<string, string>> {
    const exec = nodeExec(node, 'pod1')
    await deleteTable(exec, REDIRECT_TABLE)
    const failed = await applyRuleset(exec, ruleset)
    if (failed !== undefined) return { load: failed.detail }
    const first = await readTable(exec, REDIRECT_TABLE)
    await applyRuleset(exec, ruleset)
    const read = await readTable(exec, REDIRECT_TABLE)
    return {
      load: 'accepted',
      'loaded again':
        read.ok && first.ok && read.content?.text === first.content?.text ? 'the same' : 'different',
      ...(await fates()),
    }
  }

  /** Which program answers, by address. */
  async function fates(): Promise<Record<string, string>> {
    const outcomes: Record<string, string> = {}
    const pod = await node.agent('pod1')
    for (const [host, port] of [
      ...METADATA_ADDRESSES.map((address) => [address, 80] as const),
      ...BROKER_ADDRESSES.map((address) => [address, BROKER_PORT] as const),
      ['10.0.0.2', 80] as const,
      ...DIRECT.map((address) => [address, SIDECAR_PORT] as const),
    ])
      outcomes[host] = (await pod.tcp({ host, port })).outcome
    return outcomes
  }

  /** Where the sidecar listens, and where `kubectl port-forward` connects to. */
  const DIRECT = ['127.0.0.1', '::1'] as const
  const NOBODY_DIRECTLY = { '127.0.0.1': 'ECONNREFUSED', '::1': 'ECONNREFUSED' }
  const LOADED = { load: 'accepted', 'loaded again': 'the same' }
  const REDIRECT = {
    metadata: METADATA_ADDRESSES,
    broker: BROKER_ADDRESSES,
    brokerPort: BROKER_PORT,
    sidecarPort: SIDECAR_PORT,
  }
  const [METADATA4, METADATA6] = METADATA_ADDRESSES
  const [BROKER4, BROKER6] = BROKER_ADDRESSES
  const RULESETS = {
    redirect: {
      ruleset: redirectRuleset(REDIRECT),
      does: {
        [METADATA4]: 'sidecar',
        [METADATA6]: 'sidecar',
        [BROKER4]: 'broker',
        [BROKER6]: 'broker',
        '10.0.0.2': 'mesh',
        ...NOBODY_DIRECTLY,
      },
    },
    proof: {
      ruleset: proofRuleset(METADATA_ADDRESSES),
      does: {
        [METADATA4]: 'aws',
        [METADATA6]: 'aws',
        [BROKER4]: 'mesh',
        [BROKER6]: 'mesh',
        '10.0.0.2': 'mesh',
        ...NOBODY_DIRECTLY,
      },
    },
  }

  test('in a new pod, the rulesets that delete nothing have the same effect as those that replace earlier rules', async () => {
    const exec = nodeExec(node, 'pod1')
    await deleteTable(exec, REDIRECT_TABLE)
    assert.match((await applyRuleset(exec, newPodRuleset.redirect(REDIRECT)))?.detail ?? '', /No such file/)
    assert.equal(await applyRuleset(exec, newPodRuleset.proof(METADATA_ADDRESSES)), undefined)
    assert.deepEqual(await fates(), RULESETS.proof.does)
    assert.equal(await applyRuleset(exec, newPodRuleset.redirect(REDIRECT)), undefined)
    assert.deepEqual(await fates(), RULESETS.redirect.does)
    assert.match(
      (await applyRuleset(exec, newPodRuleset.proof(METADATA_ADDRESSES)))?.detail ?? '',
      /File exists/,
    )
  })

  for (const [name, { ruleset, does }] of Object.entries(RULESETS))
    test(`each line of the ${name} ruleset, when it is removed, changes its effect`, async (t) => {
      const whole: Record<string, string> = { ...LOADED, ...does }
      assert.deepEqual(await effect(ruleset), whole)
      for (const { line, number, rest } of without(ruleset))
        await t.test(`line ${number}: ${line}`, async () => {
          const outcome = await effect(rest)
          assert.notDeepEqual(outcome, whole, `nothing changes without line ${number}: ${line}`)
          if (outcome.load !== 'accepted') assert.match(String(outcome.load), MISSED)
        })
    })
})
