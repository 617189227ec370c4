/** The cost of reviews that are made to be expensive, one by one and as an attack. */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { worstReviews } from '../../injector/worst-reviews.ts'
import { soakInjector } from '../../soak/injector/soak.ts'
import { type Figure, median, quantile } from '../report.ts'
import { exchangeText, type RunningInjector, startInjector } from './process.ts'

const TIMES = 7
/** Work after the answer, such as a garbage collection, is counted with the review. */
const AFTER_MS = 30
const ATTACK_MS = 60_000
const MIB = 2 ** 20

/** CPU and answer of each kind of review, on a connection of its own, including its handshake. */
export async function worstFigures(tell: (what: string) => void): Promise<Figure[]> {
  const injector = await startInjector()
  const figures: Figure[] = []
  try {
    for (const { name, path, body } of worstReviews()) {
      tell(name)
      const costs: number[] = []
      let length = 0
      for (let time = 0; time < TIMES; time++) {
        const before = cpuOf(injector.pid)
        length = (await exchangeText(injector, path, body)).text.length
        await sleep(AFTER_MS)
        costs.push(cpuOf(injector.pid) - before)
      }
      const note = `${(Buffer.byteLength(body) / 1e6).toFixed(1)} MB; most ${Math.max(...costs).toFixed(0)} ms, answer ${length} bytes`
      figures.push({ name: `CPU, ${name}`, value: median(costs), unit: 'ms', target: 50, note })
    }
    return figures
  } finally {
    await injector.end()
  }
}

/** A tenant with pods beside peers who send only these reviews, under the chart's memory limit. */
export async function attackFigures(addresses: number, connections: number): Promise<Figure[]> {
  const where = `attack from ${addresses} address${addresses === 1 ? '' : 'es'}`
  const seen = await soakInjector({ seed: 1, durationMs: ATTACK_MS, addresses, connections })
  const { times, failures, peak, isAlive, kills, tally } = seen
  const note = `${Object.values(tally.statuses).reduce((sum, count) => sum + count, 0)} answers to ${connections} connections in ${ATTACK_MS / 1000} s`
  return [
    { name: `p50 of a good tenant, ${where}`, value: quantile(times, 0.5), unit: 'ms', note },
    { name: `p99 of a good tenant, ${where}`, value: quantile(times, 0.99), unit: 'ms', target: 1000 },
    {
      name: `failures of a good tenant, ${where}`,
      value: failures,
      unit: '',
      target: 0,
      note: `of ${times.length + failures}`,
    },
    {
      name: `peak of the cgroup, ${where}`,
      value: peak === undefined ? undefined : peak / MIB,
      unit: 'MiB',
      target: 160,
    },
    { name: `killed, ${where}`, value: isAlive ? kills : kills || 1, unit: '', target: 0 },
  ]
}

/** Milliseconds that all threads together have run. */
function cpuOf(pid: RunningInjector['pid']): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const nanoseconds = threads.map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
  )
  return nanoseconds.reduce((sum, one) => sum + one, 0) / 1e6
}
