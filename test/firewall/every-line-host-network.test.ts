/** Every line of the rules about pods on the host network has an effect. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, BROKER_PORT } from '../../common/addresses.ts'
import { countPackets } from '../../node-guard/firewall/iptables/chains.ts'
import { readSaved } from '../../node-guard/firewall/iptables/reading.ts'
import { deleteTable, loadTable, readTable } from '../../node-guard/firewall/nft/table.ts'
import { BROKER_PORT_COUNTER, type HostNetworkRuleset } from '../../node-guard/firewall/rules/host-network.ts'
import { HOST_CHAINS, hostNetworkChains } from '../../node-guard/firewall/rules/host-network-iptables.ts'
import { HOST_NETWORK_TABLE, hostNetworkRuleset } from '../../node-guard/firewall/rules/host-network-nft.ts'
import type { Chain, Family, Variant } from '../../node-guard/firewall/rules/iptables.ts'
import {
  type HostNetworkNode,
  METADATA,
  needsCgroups,
  openHostNetworkNode,
  REFUSED,
} from './host-network-node.ts'
import { FAMILIES, loadChains, VARIANTS, withoutEach } from './iptables-rules.ts'
import { MISSED, without } from './lines.ts'
import { type Agent, fenceOf, nodeExec, UNLINKED } from './node.ts'

/** How long a sidecar's request waits for an answer that is dropped. */
const PATIENCE_MS = 2000

describe('every line of the rules about pods on the host network is needed', needsCgroups(), () => {
  let host: HostNetworkNode
  before(async () => {
    host = await openHostNetworkNode('systemd')
  })
  after(() => host?.close())

  /** Who listens on the broker's port: the node guard on half of the addresses, and a pod that should not on the others. */
  let thief: Agent
  let own = ''
  before(async () => {
    for (const address of [...BROKER_ADDRESSES, ...UNLINKED])
      await host.shell(`ip addr replace ${address} dev lo${address.includes(':') ? ' nodad' : ''}`)
    own = host.cgroup(await host.makePod())
    thief = await host.agentIn(host.cgroup(await host.makePod()))
    const guard = await host.agentIn(own)
    for (const address of BROKER_ADDRESSES)
      assert.equal(await thief.listen({ host: address, port: BROKER_PORT, name: 'thief' }), 'listening')
    for (const address of UNLINKED)
      assert.equal(await guard.listen({ host: address, port: BROKER_PORT, name: 'own' }), 'listening')
  })

  type Counters = () => Promise<Readonly<Record<string, number>>>
  type Places = Readonly<Record<string, string>>

  /** The fate of the packets of one place, and the counters that they change. */
  async function fates(counters: Counters, name: string, path: string, address: string) {
    const before = await counters()
    const to = { host: address, payload: 'x', fence: fenceOf(address) }
    const seen = {
      tcp: await host.fetch(path, address),
      ...(name === 'refused' ? { udp: await host.send(path, { ...to, port: 80 }) } : {}),
      ...(name === 'other' ? { proof: await host.send(path, { ...to, port: 9 }) } : {}),
    }
    const after = await counters()
    // What was refused on the broker's port is sent again now and then.
    const moved = Object.keys(after).filter(
      (counter) => after[counter] !== before[counter] && !counter.startsWith(BROKER_PORT_COUNTER),
    )
    return Object.fromEntries(
      Object.entries({ ...seen, moved: moved.sort().join(' ') }).map(([what, fate]) => [
        `${name} ${address} ${what}`,
        fate,
      ]),
    )
  }

  /**
   * The fate of what a sidecar sends to the broker's port.
   * @param together whether the counters distinguish the families, so that both are asked at the same time
   */
  async function brokerFates(counters: Counters, together: boolean) {
    const client = await host.node.agent('pod1')
    const ask = async (addresses: readonly string[]) => {
      const before = await counters()
      const asked = addresses.map(async (address) => [
        `broker ${address}`,
        await client.ask({ host: address, port: BROKER_PORT, text: 'token', patience: PATIENCE_MS }),
      ])
      const seen = Object.fromEntries(await Promise.all(asked))
      const after = await counters()
      const moved = Object.keys(after).filter(
        (counter) => after[counter] !== before[counter] && counter.startsWith(BROKER_PORT_COUNTER),
      )
      return { seen, moved: moved.sort().join(' ') }
    }
    // What other rules refused before is sent again now and then, and is not counted each time.
    let ofOwn = await ask(UNLINKED)
    for (let time = 1; time < 5 && ofOwn.moved !== ''; time++) ofOwn = await ask(UNLINKED)
    const heardBefore = await thief.heard({})
    const asked = []
    for (const addresses of together ? [BROKER_ADDRESSES] : BROKER_ADDRESSES.map((address) => [address]))
      asked.push(await ask(addresses))
    const heard = (await thief.heard({})) - heardBefore
    const own = heard === 0 ? '' : ofOwn.moved
    const seen = Object.assign({}, ofOwn.seen, ...asked.map((each) => each.seen))
    return { ...seen, heard, own, thief: asked.map(({ moved }) => moved) }
  }

  /** The fate of every packet after rules were loaded, or `failed`, the reason why they were not. */
  async function effect(failed: string | undefined, counters: Counters, places: Places, together: boolean) {
    if (failed !== undefined) return { load: failed }
    const seen: Record<string, unknown> = { load: 'accepted' }
    const ofBroker = brokerFates(counters, together)
    for (const [name, path] of Object.entries(places))
      for (const address of METADATA) Object.assign(seen, await fates(counters, name, path, address))
    return { ...seen, ...(await ofBroker) }
  }

  async function prepare(mode: HostNetworkRuleset['mode']) {
    const [refused, allowed, other] = [
      await host.makePod(),
      await host.makePod('guaranteed'),
      await host.makePod('besteffort'),
    ]
    const places = {
      refused: host.cgroup(refused),
      allowed: host.cgroup(allowed, 'guaranteed'),
      other: host.cgroup(other, 'besteffort'),
      host: '.',
    }
    const rules: HostNetworkRuleset = {
      ...{ metadata: METADATA, broker: [...BROKER_ADDRESSES, ...UNLINKED], own, mode, root: host.root },
      pods: [
        { cgroup: places.refused, counter: 'host_1', allowed: false },
        { cgroup: places.allowed, counter: 'host_2', allowed: true },
      ],
    }
    return { places, rules }
  }

  function assertDesigned(seen: Readonly<Record<string, unknown>>, fate: string, ofThief: string) {
    assert.equal(seen.load, 'accepted')
    for (const address of BROKER_ADDRESSES) assert.equal(seen[`broker ${address}`], ofThief)
    for (const address of UNLINKED) assert.equal(seen[`broker ${address}`], 'own token')
    assert.equal(seen.heard, fate === 'aws' ? BROKER_ADDRESSES.length : 0)
    for (const address of METADATA) {
      assert.equal(seen[`refused ${address} tcp`], fate)
      assert.equal(seen[`other ${address} tcp`], fate)
      assert.equal(seen[`allowed ${address} tcp`], 'aws')
      assert.equal(seen[`host ${address} tcp`], 'aws')
    }
  }

  for (const mode of ['block', 'audit'] as const) {
    test(`each line of nft in mode ${mode}, when it is removed, changes the fate of packets or a count`, async (t) => {
      const { places, rules } = await prepare(mode)
      const exec = nodeExec(host.node)
      const counters = async () => {
        const read = await readTable(exec, HOST_NETWORK_TABLE)
        return read.ok ? (read.content?.packets ?? {}) : {}
      }
      const effectOf = async (ruleset: string) => {
        await deleteTable(exec, HOST_NETWORK_TABLE)
        const first = await loadTable(exec, ruleset)
        return effect(first.ok ? undefined : first.detail, counters, places, false)
      }
      const ruleset = hostNetworkRuleset(rules)
      const whole = await effectOf(ruleset)
      const [fate, ofThief] = mode === 'block' ? [REFUSED.nft, REFUSED.nft] : ['aws', 'thief token']
      assertDesigned(whole, fate, ofThief)
      for (const { line, number, rest } of without(ruleset))
        await t.test(`line ${number}: ${line}`, async () => {
          const outcome = await effectOf(rest)
          assert.notDeepEqual(outcome, whole, `nothing changes without line ${number}: ${line}`)
          if (outcome.load !== 'accepted') assert.match(String(outcome.load), MISSED)
        })
      await deleteTable(exec, HOST_NETWORK_TABLE)
    })

    for (const variant of VARIANTS)
      test(`each rule and jump of iptables-${variant} in mode ${mode}, when it is removed, changes the fate of packets or a count`, async (t) => {
        const { places, rules } = await prepare(mode)
        const chains = (family: Family) => hostNetworkChains(rules, family, variant)
        const load = (family: Family, some: readonly Chain[]) =>
          loadChains(nodeExec(host.node), HOST_CHAINS, family, some, variant)
        const counters = () => countersOf(chains, variant)
        for (const family of FAMILIES) assert.equal(await load(family, chains(family)), undefined)
        const whole = await effect(undefined, counters, places, true)
        const [fate, ofThief] =
          mode === 'block' ? [REFUSED[`iptables-${variant}`], 'silence'] : ['aws', 'thief token']
        assertDesigned(whole, fate, ofThief)
        const parts = FAMILIES.flatMap((family) =>
          [...withoutEach(chains(family))].map((part) => ({ family, ...part })),
        )
        for (const { family, what, rest } of parts)
          await t.test(`IPv${family}: ${what}`, async () => {
            const outcome = await effect(await load(family, rest), counters, places, true)
            assert.notDeepEqual(outcome, whole, `nothing changes without ${what}`)
            assert.equal(await load(family, chains(family)), undefined)
          })
        for (const family of FAMILIES) assert.equal(await load(family, []), undefined)
      })
  }

  /** The counts of the rules of both families. */
  async function countersOf(chains: (family: Family) => readonly Chain[], variant: Variant) {
    const counted: Record<string, number> = {}
    for (const family of FAMILIES) {
      const read = await readSaved({ exec: nodeExec(host.node), variant, family, prefix: HOST_CHAINS })
      if (!read.ok) continue
      for (const [name, packets] of Object.entries(countPackets(chains(family), read.saved)))
        counted[`${name} ${family}`] = packets
    }
    return counted
  }
})
