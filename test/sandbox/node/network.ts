/** The machine's network: created once; namespaces of pods are added and removed at run time. */
import { LAYOUTS, type Layout, type LayoutName } from './layouts.ts'
import type { Machine } from './machine.ts'
import { collect, spawnEntered } from './process.ts'
import { DEFAULT_PATH } from './tools.ts'
import {
  addPodScript,
  nextPodNumber,
  type PodAddresses,
  podAddresses,
  removePodScript,
  type Topology,
  upScript,
} from './topology.ts'

export type PodNetwork = PodAddresses & {
  /** Name of its network namespace in the machine. */
  readonly network: string
}

export type Network = {
  readonly topology: Topology
  /** Creates a namespace connected to the node (about 15 ms). */
  readonly addPod: () => Promise<PodNetwork>
  /** Removes one; its addresses are reused as late as possible. */
  readonly removePod: (pod: PodNetwork) => Promise<void>
}

/** Creates the aws and node namespaces (about 20 ms) and returns functions that add and remove pods. */
export async function createNetwork(
  machine: Machine,
  options: { topology?: Topology; layout?: LayoutName; bridgeNetfilter?: boolean } = {},
): Promise<Network> {
  const { bridgeNetfilter = true } = options
  const layout: Layout | undefined = options.layout && LAYOUTS[options.layout]
  const topology = layout?.base ?? options.topology ?? 'routed'
  await runScript(machine, [upScript(topology, bridgeNetfilter), layout?.up ?? ''].join('\n'))
  const numbers = new Map<string, number>()
  let last = 0
  return {
    topology,
    addPod: async () => {
      last = nextPodNumber(last, new Set(numbers.values()))
      const number = last
      const network = `pod-${number}`
      numbers.set(network, number)
      const more = layout?.addPod?.(number, network) ?? ''
      await runScript(machine, [addPodScript(topology, network, number), more].join('\n'))
      return { network, ...podAddresses(number) }
    },
    removePod: async ({ network }) => {
      const number = numbers.get(network)
      if (number === undefined) return
      const first = layout?.removePod?.(number) ?? ''
      await runScript(machine, [first, removePodScript(network, number)].join('\n'))
      numbers.delete(network)
    },
  }
}

/** Runs a shell script in the machine, outside of its named networks; throws with its stderr when it fails. */
export async function runScript(machine: Machine, script: string): Promise<void> {
  const result = await collect(
    () =>
      spawnEntered([...machine.enter(), '--', 'sh', '-e'], 1, { env: { PATH: DEFAULT_PATH }, stdio: 'pipe' }),
    { input: script },
  )
  if (result.code !== 0) throw new Error(`sandbox network: ${result.stderr.trim() || `exit ${result.code}`}`)
}
