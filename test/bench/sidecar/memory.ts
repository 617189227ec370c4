/** Memory of the sidecar: alone, beside 49 others, and under a limit. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type MemoryCgroup, memoryCgroup } from '../cgroup.ts'
import { runLoad } from '../load.ts'
import { type Memory, memoryOf } from '../memory.ts'
import { type Figure, median } from '../report.ts'
import { documentRequest, firstDocument, type SidecarOptions, type Started, spawnSidecar } from './process.ts'

const REQUESTS = 5000
/** Memory is read this long after the start and after a load, because what is freed a moment later is not what a sidecar costs. */
const SETTLE_MS = 1500

/** Private dirty memory idle and after 5,000 requests on one connection, MiB. */
async function grownMemory(options: SidecarOptions): Promise<{ idle: number; grown: number }> {
  const sidecar = await spawnSidecar(options)
  try {
    await firstDocument(sidecar)
    await sleep(SETTLE_MS)
    const idle = memoryOf(sidecar.pid).privateDirty
    await serve(sidecar)
    return { idle, grown: memoryOf(sidecar.pid).privateDirty }
  } finally {
    await sidecar.end()
  }
}

async function serve({ port }: Started): Promise<number> {
  const bytes = await documentRequest(port)
  const { failures } = await runLoad({ port, bytes, requests: REQUESTS, connections: 1, keepAlive: true })
  await sleep(SETTLE_MS)
  return failures
}

/** The two figures of {@link grownMemory}, medians of some processes. */
export async function memoryFigures(options: SidecarOptions, processes: number): Promise<Figure[]> {
  const runs: { idle: number; grown: number }[] = []
  for (let run = 0; run < processes; run++) runs.push(await grownMemory(options))
  const note = `median of ${processes} processes`
  return [
    { name: 'private memory, idle', value: median(runs.map(({ idle }) => idle)), unit: 'MiB', note },
    {
      name: `private memory after ${REQUESTS} requests`,
      value: median(runs.map(({ grown }) => grown)),
      unit: 'MiB',
      target: 12,
      note,
    },
  ]
}

/** Mean PSS of many sidecars that have credentials, MiB. */
export async function manySidecars(options: SidecarOptions, count: number): Promise<Figure> {
  const sidecars: Started[] = []
  try {
    while (sidecars.length < count) {
      const sidecar = await spawnSidecar(options)
      sidecars.push(sidecar)
      await firstDocument(sidecar)
    }
    await sleep(SETTLE_MS)
    const all: Memory[] = sidecars.map(({ pid }) => memoryOf(pid))
    const mean = all.reduce((sum, { pss }) => sum + pss, 0) / count
    return { name: `mean PSS of ${count} sidecars`, value: mean, unit: 'MiB' }
  } finally {
    await Promise.all(sidecars.map(({ end }) => end()))
  }
}

/**
 * Serves 5,000 requests under a limit. The pages of the node binary are in memory already and charged to another process,
 * as on a node where the image was just unpacked or another sidecar runs (docs/benchmarks.md says what happens otherwise).
 */
export async function underLimit(options: SidecarOptions, limitMiB: number): Promise<Figure[]> {
  const names = [`failures under ${limitMiB} MiB`, `working set under ${limitMiB} MiB`] as const
  let cgroup: MemoryCgroup
  try {
    cgroup = memoryCgroup(`pod2iam-bench-${process.pid}-${limitMiB}`, limitMiB * 2 ** 20)
  } catch (error) {
    const note = `left out: ${error instanceof Error ? error.message : String(error)}`
    return names.map((name) => ({ name, value: undefined, unit: '', note }))
  }
  try {
    const sidecar = await spawnSidecar({ ...options, cgroupProcs: cgroup.procs })
    let failures = REQUESTS
    let workingSet = 0
    try {
      await firstDocument(sidecar)
      failures = await serve(sidecar)
      workingSet = cgroup.workingSet() / 2 ** 20
    } catch {
      // Killed or stuck: every request counts as failed.
    } finally {
      await sidecar.end()
    }
    const note = `${REQUESTS} requests; processes killed by the kernel: ${cgroup.kills()}`
    return [
      { name: names[0], value: failures, unit: '', target: 0, note },
      { name: names[1], value: workingSet, unit: 'MiB' },
    ]
  } finally {
    cgroup.remove()
  }
}
