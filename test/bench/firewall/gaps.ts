/** How long the block is open, as seen from a pod that tries a thousand times a second. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestNode } from '../../firewall/node.ts'
import { type Figure, median } from '../report.ts'
import { type BenchBackend, type Disturbance, disturbancesOf, rulesBack } from './disturbances.ts'
import { type Probed, probesOf, startProber } from './prober.ts'
import { type Kind, openBenchNode, startGuard } from './process.ts'

export type GapOptions = {
  readonly bundle: string
  readonly kind: Kind
  readonly backend: BenchBackend
  readonly owned: boolean
  /** How often each disturbance happens. */
  readonly rounds: number
  /** How often the guard is killed and restarted. */
  readonly kills: number
  /** The parts whose figures are wanted. */
  readonly asked: (part: string) => boolean
}

/** After a repair the guard reads its rules back, and would take a disturbance before that for the same one. */
const SETTLE_MS = 40

const KILLED = 'guard killed and started again'

const where = ({ kind, backend, owned }: GapOptions) => `${kind}, ${backend}${owned ? ', owned table' : ''}`

/** Whether there is anything to measure. */
export const isAnyAsked = (options: GapOptions): boolean =>
  [...disturbancesOf(options.backend).map(({ name }) => name), KILLED].some((name) =>
    options.asked(`${where(options)}: ${name}`),
  )

/** Repeats every disturbance while a prober works. */
export async function gapFigures(options: GapOptions): Promise<Figure[]> {
  const { bundle, kind, backend, owned, rounds, kills } = options
  const flags = owned ? ['--owned-table=true'] : []
  const node = await openBenchNode(kind)
  try {
    let guard = await startGuard(node, bundle, flags, backend)
    const figures: Figure[] = []
    for (const disturbance of disturbancesOf(backend)) {
      const name = `${where(options)}: ${disturbance.name}`
      if (!options.asked(name)) continue
      const probed = await probing(node, () => repeat(node, disturbance, backend, rounds))
      const open = !owned && disturbance.opens.includes(backend)
      figures.push(...(open ? lengths : none)(name, probed))
    }
    const restarts = async () => {
      for (let kill = 0; kill < kills; kill++) {
        await guard.kill()
        guard = await startGuard(node, bundle, flags, backend)
      }
    }
    const name = `${where(options)}: ${KILLED}`
    if (options.asked(name)) figures.push(...none(name, await probing(node, restarts)))
    return figures
  } finally {
    await node.close()
  }
}

async function probing(node: TestNode, work: () => Promise<void>): Promise<Probed> {
  const stop = await startProber(node, 'pod1', '169.254.169.254')
  await work()
  return stop()
}

async function repeat(
  node: TestNode,
  { act }: Disturbance,
  backend: BenchBackend,
  rounds: number,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await act(node)
    await rulesBack(node, backend)
    await sleep(SETTLE_MS)
  }
}

const through = ({ outcomes }: Probed) => outcomes.through ?? 0

/** A disturbance during which nothing may get through. */
function none(name: string, probed: Probed): Figure[] {
  const value = through(probed)
  return [{ name: `${name}, through`, value, unit: 'connections', target: 0, note: rateOf(probed) }]
}

/** A disturbance after which the rules are missing until they are repaired. */
function lengths(name: string, probed: Probed): Figure[] {
  const { gaps } = probed
  const note = `${gaps.length} gaps, ${through(probed)} connections through; ${rateOf(probed)}`
  return [
    { name: `${name}, gap, median`, value: median(gaps), unit: 'ms', target: 50, note },
    { name: `${name}, gap, worst`, value: Math.max(...gaps), unit: 'ms', target: 250 },
  ]
}

function rateOf(probed: Probed): string {
  const probes = probesOf(probed)
  return `${Math.round(probes / probed.seconds)} probes/s, ${probes} in all, longest pause ${probed.longestPause.toFixed(0)} ms`
}
