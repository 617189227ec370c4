/** Probes the health port once a second, as a kubelet and the pod's gate do. */
import { get } from 'node:http'

export type HealthWatch = {
  readonly times: readonly number[]
  readonly faults: readonly string[]
  readonly faultCount: () => number
  readonly stop: () => Promise<void>
}

const INTERVAL_MS = 1000
const MOST_FAULTS = 10

/** Starts probing `/livez` and `/readyz` in turn; both must answer 200 within `timeoutMs`. */
export function watchHealth(port: number, timeoutMs: number): HealthWatch {
  const times: number[] = []
  const faults: string[] = []
  let [faultCount, turn] = [0, 0]
  let last: Promise<void> = Promise.resolve()
  const once = async () => {
    const path = turn++ % 2 === 0 ? '/livez' : '/readyz'
    const started = performance.now()
    try {
      const status = await statusOf(port, path, timeoutMs)
      if (status !== 200) throw new Error(`status ${status}`)
      times.push(performance.now() - started)
    } catch (error) {
      faultCount++
      if (faults.length < MOST_FAULTS)
        faults.push(`${new Date().toISOString()} ${path}: ${error instanceof Error ? error.message : error}`)
    }
  }
  const timer = setInterval(() => {
    last = Promise.all([last, once()]).then(() => {})
  }, INTERVAL_MS)
  return {
    times,
    faults,
    faultCount: () => faultCount,
    stop: async () => {
      clearInterval(timer)
      await last
    },
  }
}

function statusOf(port: number, path: string, timeoutMs: number): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
  const outgoing = get({ port, host: '127.0.0.1', path, agent: false }, (incoming) => {
    incoming.resume().on('end', () => resolve(incoming.statusCode))
  })
  const timeout = setTimeout(() => outgoing.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
  outgoing.on('error', reject).on('close', () => clearTimeout(timeout))
  return promise
}
