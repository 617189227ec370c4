/** The injector's bench: the built bundle, as its container runs it, called over TLS as an API server calls it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { runLoad } from '../load.ts'
import { memoryOf } from '../memory.ts'
import type { Bench, Figure } from '../report.ts'
import { type RunningInjector, startInjector } from './process.ts'
import { reviewBytes, runningPods } from './reviews.ts'
import { rolloutFigures } from './rollouts.ts'
import { type WatchCase, watchFigures } from './watch.ts'
import { attackFigures, worstFigures } from './worst.ts'

const SIZES = [
  { name: '4 kB', bytes: 4_000, reviews: 5_000 },
  { name: '300 kB', bytes: 300_000, reviews: 500 },
]
const MANY = 100_000
/** Memory is read this long after a load, because what is freed a moment later is not what an injector costs. */
const SETTLE_MS = 2000

const LARGE = { injected: 150_000, others: 10_000, updates: 1000, optedIn: 300 }
const WATCHES: readonly WatchCase[] = [
  { name: 'watch, 150,000 pods', size: LARGE },
  { name: 'watch, 150,000 pods whose gates wait', size: { ...LARGE, areWaiting: true } },
  { name: 'watch, 510,000 pods', size: { ...LARGE, injected: 510_000, optedIn: 1000 } },
]

const ATTACKS = [
  { addresses: 1, connections: 8 },
  { addresses: 100, connections: 100 },
]

const ROLLOUTS = { drains: 100, clients: 2, endpointLagMs: 500, settings: ['--drain-seconds=1'] }

export const benchInjector: Bench = async (tell, asked) => {
  const figures = asked('reviews') ? await reviewFigures(tell) : []
  if (asked('worst reviews')) figures.push(...(await worstFigures(tell)))
  for (const { addresses, connections } of asked('attack') ? ATTACKS : []) {
    tell(`attack from ${addresses}`)
    figures.push(...(await attackFigures(addresses, connections)))
  }
  if (asked('rollouts')) figures.push(...(await rolloutFigures(ROLLOUTS, tell)))
  for (const watch of WATCHES.filter(({ name }) => asked(name))) {
    tell(watch.name)
    figures.push(...(await watchFigures(watch)))
  }
  return figures
}

async function reviewFigures(tell: (what: string) => void): Promise<Figure[]> {
  tell('memory')
  const figures = [await idleFigure(0), await idleFigure(5000)]
  const injector = await startInjector()
  try {
    for (const { name, bytes, reviews } of SIZES)
      for (const connections of [1, 16]) {
        tell(`${name} pods, ${connections} connections`)
        figures.push(...(await latencyFigures(injector, name, bytes, reviews, connections)))
      }
    tell(`${MANY} reviews`)
    figures.push(...(await flatness(injector)))
    return figures
  } finally {
    await injector.end()
  }
}

async function idleFigure(pods: number): Promise<Figure> {
  const injector = await startInjector(runningPods(pods))
  try {
    await sleep(SETTLE_MS)
    const name = `private memory, idle, ${pods} pods with a sidecar in the cluster`
    return { name, value: memoryOf(injector.pid).privateDirty, unit: 'MiB' }
  } finally {
    await injector.end()
  }
}

async function latencyFigures(
  { port, dial }: RunningInjector,
  name: string,
  size: number,
  requests: number,
  connections: number,
): Promise<Figure[]> {
  const load = { port, dial, bytes: reviewBytes(size), requests, connections, keepAlive: true }
  const { p50, p99, perSecond, failures } = await runLoad(load)
  const where = `${name} pod, ${connections} connection${connections === 1 ? '' : 's'}`
  return [
    { name: `p50, ${where}`, value: p50, unit: 'µs', note: `${Math.round(perSecond)} reviews/s` },
    { name: `p99, ${where}`, value: p99, unit: 'µs' },
    { name: `failures, ${where}`, value: failures, unit: '', target: 0, note: `of ${requests}` },
  ]
}

/** Memory after half and after all of many reviews: it must not grow with their number. */
async function flatness({ pid, port, dial }: RunningInjector): Promise<Figure[]> {
  const load = { port, dial, bytes: reviewBytes(4_000), requests: MANY / 2, connections: 8, keepAlive: true }
  const after: number[] = []
  for (let half = 0; half < 2; half++) {
    await runLoad(load)
    await sleep(SETTLE_MS)
    after.push(memoryOf(pid).privateDirty)
  }
  const [middle = Number.NaN, end = Number.NaN] = after
  return [
    { name: `private memory after ${MANY / 2} more reviews`, value: middle, unit: 'MiB', target: 96 },
    { name: `private memory after ${MANY} more reviews`, value: end, unit: 'MiB', target: 96 },
    { name: 'growth from the first half to the second', value: end / middle, unit: '×', target: 1.1 },
  ]
}
