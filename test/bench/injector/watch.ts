/** What the watch costs in a large cluster: the bundle under the chart's limit, and its reviews while it reads its lists. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { namespace } from '../../injector/fixtures.ts'
import { type MemoryCgroup, memoryCgroup } from '../cgroup.ts'
import { exchange, opened } from '../load.ts'
import { type Figure, quantile } from '../report.ts'
import { type ClusterSize, largeCluster } from './large-cluster/process.ts'
import { type RunningInjector, startBundle } from './process.ts'
import { reviewBytes } from './reviews.ts'

/** `injector.resources.limits.memory` of the chart. */
const LIMIT_MIB = 192
const MIB = 2 ** 20
const PROBE_MS = 20
/** The limit for one list: after it, the list is assumed never to end. */
const LIST_MS = 900_000
/** Clock ticks per second (`getconf CLK_TCK`), which have been 100 for all programs on Linux since 2.4. */
const TICKS = 100

export type WatchCase = { readonly name: string; readonly size: ClusterSize; readonly steadySeconds?: number }

/** @param bundle built from the sources unless it is given, to compare releases */
export async function watchFigures(
  { name, size, steadySeconds = 20 }: WatchCase,
  bundle?: string,
): Promise<Figure[]> {
  const figure = (
    what: string,
    value: number | undefined,
    unit: string,
    more: Partial<Figure> = {},
  ): Figure => ({
    ...{ name: `${name}: ${what}`, value, unit, ...more },
  })
  let cgroup: MemoryCgroup
  try {
    cgroup = memoryCgroup(`pod2iam-bench-${process.pid}-injector`, LIMIT_MIB * MIB)
  } catch (error) {
    return [
      figure('peak', undefined, 'MiB', {
        note: `left out: ${error instanceof Error ? error.message : error}`,
      }),
    ]
  }
  const { labels, annotations } = namespace()
  const cluster = await largeCluster(size, { labels, annotations })
  let injector: RunningInjector | undefined
  try {
    const start = performance.now()
    injector = await startBundle({
      ...{ kubeconfig: cluster.kubeconfig, cgroupProcs: cgroup.procs },
      ...(bundle === undefined ? {} : { bundle }),
    })
    const isListed = () => cluster.state().watches > 0 && cluster.state().listing === 0
    const reading = await probed(injector, () => isListed() || performance.now() - start > LIST_MS)
    const listed = { seconds: (performance.now() - start) / 1000, bytes: cluster.state().bytes }
    const cpuOfList = cpuSeconds(injector.pid)
    // Measured without reviews, which cost more than the watch.
    const [before, from] = [cluster.state(), performance.now()]
    await sleep(steadySeconds * 1000)
    const [after, seconds] = [cluster.state(), (performance.now() - from) / 1000]
    const cpu = cpuSeconds(injector.pid) - cpuOfList
    const end = performance.now() + steadySeconds * 1000
    const steady = await probed(injector, () => performance.now() > end)
    const peak = cgroup.peak()
    return [
      figure('killed by the kernel', cgroup.kills(), '', { target: 0, note: `limit ${LIMIT_MIB} MiB` }),
      figure('peak of the cgroup', peak && peak / MIB, 'MiB'),
      figure('working set at the end', cgroup.workingSet() / MIB, 'MiB'),
      figure('time until the lists are read', isListed() ? listed.seconds : undefined, 's', {
        note: `${cpuOfList.toFixed(1)} s of CPU`,
      }),
      figure('lists, taken from the API server', listed.bytes / MIB, 'MiB'),
      figure('webhook p99 while the lists are read', reading.review, 'ms', {
        note: `worst ${reading.worst.toFixed(1)} ms`,
      }),
      figure('/livez p99 while the lists are read', reading.live, 'ms'),
      figure('CPU afterwards', (cpu / seconds) * 100, '% of a core', {
        note: `${Math.round((after.changes - before.changes) / seconds)} changes/s`,
      }),
      figure('watches, taken from the API server', (after.bytes - before.bytes) / MIB / seconds, 'MiB/s'),
      figure('webhook p99 afterwards', steady.review, 'ms', { note: `worst ${steady.worst.toFixed(1)} ms` }),
      ...(await shown(injector, name)),
    ]
  } finally {
    await injector?.end()
    await cluster.end()
    cgroup.remove()
  }
}

/** Milliseconds that reviews and `/livez` take, called every 20 ms until it is over. */
async function probed(injector: RunningInjector, isOver: () => boolean) {
  const review = reviewBytes(4_000)
  const live = 'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  const times = { review: [] as number[], live: [] as number[] }
  const timed = async (into: number[], ask: () => Promise<unknown>) => {
    const start = performance.now()
    await ask()
    into.push(performance.now() - start)
  }
  const webhook = await injector.dial(injector.port)
  const askLive = async () => {
    const socket = await opened(injector.healthPort)
    await exchange(socket, live).finally(() => socket.destroy())
  }
  try {
    while (!isOver()) {
      await timed(times.review, () => exchange(webhook, review))
      await timed(times.live, askLive)
      await sleep(PROBE_MS)
    }
  } finally {
    webhook.destroy()
  }
  return {
    review: quantile(times.review, 0.99),
    worst: Math.max(...times.review),
    live: quantile(times.live, 0.99),
  }
}

/** User and system time of a process. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** What its metrics report about all those pods. */
async function shown({ healthPort }: RunningInjector, name: string): Promise<Figure[]> {
  const text = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text()
  const sum = (metric: string) =>
    [...text.matchAll(new RegExp(`^${metric}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce(
      (all, [, value]) => all + Number(value),
      0,
    )
  return [
    { name: `${name}: sidecars counted`, value: sum('pod2iam_injector_sidecars'), unit: '' },
    { name: `${name}: pods it had no room for`, value: sum('pod2iam_injector_unwatched_pods'), unit: '' },
  ]
}
