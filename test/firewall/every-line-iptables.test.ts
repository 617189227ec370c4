/** Every rule of iptables has an effect (see every-line.test.ts for nft's). */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, BROKER_PORT, METADATA_ADDRESSES, SIDECAR_PORT } from '../../common/addresses.ts'
import { ensureLink } from '../../node-guard/firewall/node/broker-link.ts'
import { GUARD_CHAINS, iptablesRules } from '../../node-guard/firewall/rules/guard-iptables.ts'
import type { Chain, Family } from '../../node-guard/firewall/rules/iptables.ts'
import type { Purpose } from '../../node-guard/firewall/rules/pod.ts'
import { directChain, REDIRECT_CHAIN, redirectChain } from '../../node-guard/firewall/rules/pod-iptables.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import {
  AS_DESIGNED_BY_IPTABLES,
  type Outcomes,
  prepare,
  prepareWays,
  probe,
  probeWays,
  RULES,
  WAYS_AS_DESIGNED,
} from './battery.ts'
import {
  FAMILIES,
  loadChains,
  prepareDnat,
  probeWeak,
  WEAK_AS_DESIGNED,
  withoutEach,
} from './iptables-rules.ts'
import { addMesh, MESH_PORT } from './mesh.ts'
import { nodeExec, openNode, type TestNode } from './node.ts'

// Each family has a node of its own, so that one continues while the other waits for silence.
describe('every rule of the guard’s iptables rules is needed', {
  ...needsNamespaces(),
  concurrency: true,
}, () => {
  for (const changed of FAMILIES)
    describe(`IPv${changed}`, () => {
      let node: TestNode
      before(async () => {
        node = await openNode()
        await prepare(node)
        await prepareWays(node)
        await prepareDnat(node)
      })
      after(() => node?.close())

      const load = async (family: Family, chains: readonly Chain[]) =>
        assert.equal(await loadChains(nodeExec(node), GUARD_CHAINS, family, chains), undefined)
      const effect = async (): Promise<Outcomes> => ({
        ...(await probe(node)),
        ...(await probeWays(node)),
        ...(await probeWeak(node, 'legacy')),
      })

      test('each rule and each jump, when it is removed, changes the fate of a packet of its family', async (t) => {
        for (const family of FAMILIES) await load(family, iptablesRules(RULES, family))
        const whole = await effect()
        assert.deepEqual(whole, { ...AS_DESIGNED_BY_IPTABLES, ...WAYS_AS_DESIGNED, ...WEAK_AS_DESIGNED })
        for (const { what, rest } of withoutEach(iptablesRules(RULES, changed)))
          await t.test(what, async () => {
            await load(changed, rest)
            const differing = (seen: Outcomes) =>
              Object.keys(seen).filter((name) => seen[name] !== whole[name])
            const straysOf = (seen: Outcomes) =>
              differing(seen).filter((name) => name.includes(changed === 6 ? 'IPv4' : 'IPv6'))
            const first = await effect()
            // The effect of a rule is the same each time, unlike the loss of a packet on a busy machine.
            const outcome = straysOf(first).length === 0 ? first : await effect()
            assert.notDeepEqual(differing(outcome), [], `nothing changes without ${what}`)
            assert.deepEqual(straysOf(outcome), [])
          })
      })
    })
})

describe('every rule of the pod’s iptables rules is needed', needsNamespaces(), () => {
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
      await pod.listen({ host: address, port: MESH_PORT, name: 'mesh' })
    }
    await addMesh(node, 'istio', 'legacy')
  })
  after(() => node?.close())

  const options = {
    metadata: METADATA_ADDRESSES,
    broker: BROKER_ADDRESSES,
    brokerPort: BROKER_PORT,
    sidecarPort: SIDECAR_PORT,
  }
  const [METADATA4, METADATA6] = METADATA_ADDRESSES
  const [BROKER4, BROKER6] = BROKER_ADDRESSES
  const DIRECT = ['127.0.0.1', '::1'] as const
  const NOBODY_DIRECTLY = { '127.0.0.1': 'ECONNREFUSED', '::1': 'ECONNREFUSED' }
  const DOES = {
    redirect: {
      ...{ [METADATA4]: 'sidecar', [METADATA6]: 'sidecar', [BROKER4]: 'broker', [BROKER6]: 'broker' },
      ...NOBODY_DIRECTLY,
    },
    proof: {
      ...{ [METADATA4]: 'aws', [METADATA6]: 'aws', [BROKER4]: 'mesh', [BROKER6]: 'mesh' },
      ...NOBODY_DIRECTLY,
    },
  } as const satisfies Record<Purpose, Outcomes>

  const load = async (family: Family, chains: readonly Chain[]) =>
    assert.equal(await loadChains(nodeExec(node, 'pod1'), REDIRECT_CHAIN, family, chains), undefined)
  const effect = async (): Promise<Outcomes> => {
    const pod = await node.agent('pod1')
    const outcomes: Record<string, string> = {}
    for (const host of METADATA_ADDRESSES) outcomes[host] = (await pod.tcp({ host, port: 80 })).outcome
    for (const host of BROKER_ADDRESSES) outcomes[host] = (await pod.tcp({ host, port: BROKER_PORT })).outcome
    for (const host of DIRECT) outcomes[host] = (await pod.tcp({ host, port: SIDECAR_PORT })).outcome
    return outcomes
  }
  const chainsOf = (purpose: Purpose, family: Family) => [
    redirectChain(options, purpose, family),
    directChain(options, purpose, family),
  ]

  for (const purpose of ['proof', 'redirect'] as const)
    test(`each rule and jump for the ${purpose}, when it is removed, changes where packets go`, async () => {
      for (const family of FAMILIES) await load(family, chainsOf(purpose, family))
      assert.deepEqual<Outcomes>(await effect(), DOES[purpose])
      for (const family of FAMILIES) {
        const chains = chainsOf(purpose, family)
        for (const { what, rest } of withoutEach(chains)) {
          await load(family, rest)
          assert.notDeepEqual(await effect(), DOES[purpose], `IPv${family}: ${what}`)
        }
        await load(family, chains)
      }
    })
})
