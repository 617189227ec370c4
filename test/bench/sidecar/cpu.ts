/**
 * Processor time of the sidecar, including the kernel's part: of a whole credential fetch, the first of a process and the
 * hundredth, and of one warm request. It matters when the application uses every core.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { readyz } from '../../sidecar/support/index.ts'
import { until } from '../../support/until.ts'
import { opened, runLoad } from '../load.ts'
import { type Figure, median } from '../report.ts'
import { documentRequest, type SidecarOptions, spawnSidecar } from './process.ts'
import { wholeFetch } from './whole-fetch.ts'

const HUNDREDTH = 100
/** The mean of this many fetches is reported for the hundredth, because a single fetch takes only a few ticks of the clock. */
const AROUND = 20
const REQUESTS = 2000
/** Meanwhile, work that the start has postponed ends. */
const SETTLE_MS = 500

type CpuTimes = {
  /** Microseconds each. */
  readonly first: number
  readonly hundredth: number
  readonly request: number
  readonly requestNewConnection: number
}

/** The times of one process, which is ready but has served no request yet. */
async function cpuTimes(options: SidecarOptions): Promise<CpuTimes> {
  const sidecar = await spawnSidecar(options)
  try {
    await until('the sidecar is ready', () =>
      readyz(sidecar.healthPort).then(
        ({ ready }) => ready,
        () => false,
      ),
    )
    await sleep(SETTLE_MS)
    const fetches = async (count: number) => {
      const before = cpuOf(sidecar.pid)
      for (let index = 0; index < count; index++) {
        const socket = await opened(sidecar.port)
        await wholeFetch(socket)
        socket.destroy()
      }
      return (cpuOf(sidecar.pid) - before) / count
    }
    const first = await fetches(1)
    await fetches(HUNDREDTH - 1 - AROUND / 2)
    const hundredth = await fetches(AROUND)
    const requests = async (keepAlive: boolean) => {
      const load = {
        port: sidecar.port,
        bytes: await documentRequest(sidecar.port),
        connections: 1,
        keepAlive,
      }
      const before = cpuOf(sidecar.pid)
      await runLoad({ ...load, requests: REQUESTS })
      return (cpuOf(sidecar.pid) - before) / REQUESTS
    }
    return { first, hundredth, request: await requests(true), requestNewConnection: await requests(false) }
  } finally {
    await sidecar.end()
  }
}

/** Medians of some processes. */
export async function cpuFigures(options: SidecarOptions, processes: number): Promise<Figure[]> {
  const runs: CpuTimes[] = []
  for (let run = 0; run < processes; run++) runs.push(await cpuTimes(options))
  const note = `median of ${processes} processes`
  const of = (name: keyof CpuTimes) => ({ value: median(runs.map((run) => run[name])), unit: 'µs', note })
  return [
    { name: 'processor time of the first whole fetch (PUT, list, document)', ...of('first') },
    { name: 'processor time of the hundredth whole fetch', ...of('hundredth') },
    { name: 'processor time of a document, connection kept alive', ...of('request') },
    { name: 'processor time of a document, new connection each time', ...of('requestNewConnection') },
  ]
}

/** Processor time that all threads of a process have used so far, microseconds. */
function cpuOf(pid: number): number {
  const tasks = `/proc/${pid}/task`
  const times = readdirSync(tasks).map(
    (task) => readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0],
  )
  return times.reduce((sum, nanoseconds) => sum + Number(nanoseconds), 0) / 1000
}
