/** A fleet in simulated time, and what happened to it. */

import { KEYS } from '../../common/keys.ts'
import { apiServer } from './api-server.ts'
import type { Fleet } from './fleet-size.ts'
import { type Node, namespaceName, simulatedNode, type World } from './node.ts'
import { sampler } from './samples.ts'
import { type Scenario, STEADY_MS } from './scenarios.ts'
import { stsModel } from './sts.ts'
import { seeded, simulatedTime } from './time.ts'

/** A namespace's object on the wire. */
const NAMESPACE_BYTES = 1200
const START = Date.UTC(2026, 0, 1)

/** Runs a scenario. The same fleet, scenario and code give the same result. */
export async function simulate(fleet: Fleet, scenario: Scenario) {
  const unseeded = Math.random
  Math.random = seeded(fleet.seed)
  try {
    const time = simulatedTime(START)
    const { stsAway = [], apiAway: awayOffsets = [], steady } = scenario
    const base = START + (steady ? STEADY_MS : 0)
    const shifted = (spans: typeof stsAway) =>
      spans.map(({ from, to }) => ({ from: base + from, to: base + to }))
    const apiAway = shifted(awayOffsets)
    const awayFromSts = shifted(stsAway)
    const api = apiServer(time, apiAway)
    const sts = stsModel(time, fleet.stsPerSecond / fleet.share, awayFromSts)
    const namespaces = api.collection(NAMESPACE_BYTES)
    const world: World = { fleet, time, api, apiAway, sts, namespaces }
    const putNamespace = (index: number, roles: readonly string[]) =>
      api.put(namespaces, namespaceName(index), {
        metadata: {
          labels: { [KEYS.injection]: 'enabled' },
          annotations: { [KEYS.allowedRoles]: JSON.stringify(roles) },
        },
      })
    for (let index = 0; index < fleet.namespaces; index++) putNamespace(index, ['*'])

    const nodes: Node[] = Array.from({ length: fleet.nodes / fleet.share }, (_, index) =>
      simulatedNode(index, world),
    )
    if (steady)
      for (const node of nodes)
        time.after(Math.random() * (STEADY_MS - 10 * 60_000), () => node.boot(fleet.podsPerNode, true))
    const samples = sampler(nodes, { fleet, time, base, stsAway: awayFromSts, apiAway })
    time.after(base - START, () => scenario.begin?.({ fleet, time, nodes, putNamespace }))
    await time.runUntil(base + scenario.minutes * 60_000)
    return { ...samples.result(), ...loads(sts, api, (base - START) / 1000, scenario.minutes * 60) }
  } finally {
    Math.random = unseeded
  }
}

/** The series from the beginning of the scenario on. */
function loads(
  sts: ReturnType<typeof stsModel>,
  api: ReturnType<typeof apiServer>,
  from: number,
  seconds: number,
) {
  const filled = (series: readonly number[]) =>
    Array.from({ length: seconds }, (_, second) => series[from + second] ?? 0)
  return {
    granted: filled(sts.granted),
    refused: filled(sts.refused),
    mostOfOneNode: sts.mostOfOneNode(),
    lists: filled(api.load.lists),
    watches: filled(api.load.watches),
    bytes: filled(api.load.bytes),
  }
}

export type Result = Awaited<ReturnType<typeof simulate>>
