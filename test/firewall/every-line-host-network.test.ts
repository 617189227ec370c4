/** No line of the rules about pods on the host network is there for nothing. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { deleteTable, loadTable, readTable } from '../../node-guard/firewall/nft/table.ts'
import { HOST_NETWORK_TABLE, hostNetworkRuleset } from '../../node-guard/firewall/rules/host-network-nft.ts'
import { type HostNetworkNode, METADATA, needsCgroups, openHostNetworkNode } from './host-network-node.ts'
import { MISSED, without } from './lines.ts'
import { nodeExec } from './node.ts'

describe('every line of the rules about pods on the host network is needed', needsCgroups(), () => {
  let host: HostNetworkNode
  before(async () => {
    host = await openHostNetworkNode('systemd')
  })
  after(() => host?.close())

  type Places = Readonly<Record<string, string>>
  const counters = async () => {
    const read = await readTable(nodeExec(host.node), HOST_NETWORK_TABLE)
    return read.ok ? (read.content?.packets ?? {}) : {}
  }

  /** What becomes of the packets of one place, and which counters they move. */
  async function fates(name: string, path: string, address: string): Promise<Record<string, string>> {
    const before = await counters()
    const to = { host: address, payload: 'x', wait: 100 }
    const seen = {
      tcp: await host.fetch(path, address),
      ...(name === 'refused' ? { udp: await host.send(path, { ...to, port: 80 }) } : {}),
      ...(name === 'other' ? { proof: await host.send(path, { ...to, port: 9 }) } : {}),
    }
    const after = await counters()
    const moved = Object.keys(after).filter((counter) => after[counter] !== before[counter])
    return Object.fromEntries(
      Object.entries({ ...seen, moved: moved.sort().join(' ') }).map(([what, fate]) => [
        `${name} ${address} ${what}`,
        fate,
      ]),
    )
  }

  async function effect(ruleset: string, places: Places): Promise<Record<string, string>> {
    const exec = nodeExec(host.node)
    await deleteTable(exec, HOST_NETWORK_TABLE)
    const first = await loadTable(exec, ruleset)
    if (!first.ok) return { load: first.detail }
    const seen: Record<string, string> = { load: 'accepted' }
    for (const [name, path] of Object.entries(places))
      for (const address of METADATA) Object.assign(seen, await fates(name, path, address))
    return seen
  }

  for (const mode of ['block', 'audit'] as const)
    test(`mode ${mode}: each line, left out, changes what becomes of packets or what is counted`, async (t) => {
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
      const ruleset = hostNetworkRuleset({
        ...{ metadata: METADATA, mode, root: host.root },
        pods: [
          { cgroup: places.refused, counter: 'host_1', allowed: false },
          { cgroup: places.allowed, counter: 'host_2', allowed: true },
        ],
      })
      const whole = await effect(ruleset, places)
      assert.equal(whole.load, 'accepted')
      const fate = mode === 'block' ? 'ECONNREFUSED' : 'aws'
      for (const address of METADATA) {
        assert.equal(whole[`refused ${address} tcp`], fate)
        assert.equal(whole[`other ${address} tcp`], fate)
        assert.equal(whole[`allowed ${address} tcp`], 'aws')
        assert.equal(whole[`host ${address} tcp`], 'aws')
      }
      for (const { line, number, rest } of without(ruleset))
        await t.test(`line ${number}: ${line}`, async () => {
          const outcome = await effect(rest, places)
          assert.notDeepEqual(outcome, whole, `nothing changes without line ${number}: ${line}`)
          if (outcome.load !== 'accepted') assert.match(String(outcome.load), MISSED)
        })
    })
})
