/** The soak of the sidecar: who sends what, for how long, and what is measured. */
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { ask, freshToken, openWorkshop, type Workshop } from '../sidecar/support/index.ts'
import { until } from '../support/until.ts'
import type { AttackersOptions, Tally } from './attackers.ts'
import { type SoakBroker, startSoakBroker } from './broker.ts'
import { type GoodClient, startGoodClient } from './good-client.ts'
import { type HealthWatch, watchHealth } from './health-watch.ts'
import { MIB, openFiles, privateDirty } from './memory.ts'
import { type SoakedProcess, startSoaked } from './process.ts'
import { SERVICE_ACCOUNT_TOKEN } from './secrets.ts'

export type SoakOptions = {
  readonly seed: number
  readonly durationMs: number
  /** Attacks begun per second. */
  readonly rate: number
  /** Hostile requests sent per second, pipelined ones included. */
  readonly requestRate: number
  /** The maximum number of open hostile connections: more than the sidecar's own limit, so that this limit is tested too. */
  readonly connections: number
  /** How long the good client and the kubelet wait for an answer, milliseconds. */
  readonly timeoutMs: number
  /** Words in the names of the attacks to use; empty: all attacks. */
  readonly only: readonly string[]
  /** Milliseconds between two samples of the memory. */
  readonly sampleMs: number
  /** Called with a line of progress at every sample. */
  readonly onProgress?: (line: string) => void
}

type Sample = { readonly second: number; readonly memory: number; readonly files: number }

export type Observations = {
  readonly options: SoakOptions
  readonly samples: readonly Sample[]
  /** Open file descriptors before the first attack and after the last. */
  readonly filesBefore: number
  readonly filesAfter: number
  readonly tally: Tally
  readonly good: GoodClient
  readonly health: HealthWatch
  readonly log: SoakedProcess['log']
  readonly broker: Pick<SoakBroker, 'answers' | 'generations'>
  /** The exit code or signal if it ended too early; undefined otherwise. */
  readonly endedEarly: number | string | undefined
  /** Its exit code (or signal) after SIGTERM, and how long that took, milliseconds. */
  readonly exit: number | string
  readonly exitMs: number
  /** `/metrics` at the end. */
  readonly metrics: string
}

/** Idle connections of clients that went away are closed after 15 s (sidecar/http/server.ts). */
const SETTLE_MS = 25_000

/** Runs it; everything that it started has ended when it resolves or rejects. */
export async function soak(options: SoakOptions): Promise<Observations> {
  const workshop = await openWorkshop()
  writeFileSync(workshop.tokenFile, SERVICE_ACCOUNT_TOKEN)
  process.once('exit', workshop.remove)
  const broker = await startSoakBroker(options.seed)
  try {
    return await withSidecar(options, workshop, broker)
  } finally {
    await broker.close()
    workshop.remove()
    process.off('exit', workshop.remove)
  }
}

async function withSidecar(
  options: SoakOptions,
  workshop: Workshop,
  broker: SoakBroker,
): Promise<Observations> {
  const sidecar = await startSoaked(workshop, broker.url)
  try {
    return await observe(options, sidecar, broker)
  } finally {
    if (sidecar.ended() === undefined) sidecar.child.kill('SIGKILL')
  }
}

async function observe(
  options: SoakOptions,
  sidecar: SoakedProcess,
  broker: SoakBroker,
): Promise<Observations> {
  const { pid, port, healthPort, log } = sidecar
  // The region comes from a snapshot, for which a pod's start does not wait.
  await until(
    'the snapshot is there',
    async () => {
      const { status } = await ask(port, { path: '/latest/meta-data/placement/region' })
      return status === 200
    },
    { deadlineMs: 60_000 },
  )
  const filesBefore = openFiles(pid)
  const token = await freshToken(port)
  const good = startGoodClient(port, options.timeoutMs, broker.generations)
  const health = watchHealth(healthPort, options.timeoutMs)
  const { seed, rate, requestRate, connections, only } = options
  const attackers = startAttackers({
    seed,
    rate,
    requestRate,
    connections,
    only,
    token,
    metadataPort: port,
    healthPort,
  })
  const samples: Sample[] = []
  let reported: ReadonlySet<string> = new Set()
  const started = performance.now()
  while (performance.now() - started < options.durationMs && sidecar.ended() === undefined) {
    await sleep(Math.min(options.sampleMs, options.durationMs))
    if (sidecar.ended() !== undefined) break
    const second = Math.round((performance.now() - started) / 1000)
    const sample = { second, memory: privateDirty(pid), files: openFiles(pid) }
    samples.push(sample)
    options.onProgress?.(
      `${String(second).padStart(5)} s  ${(sample.memory / MIB).toFixed(1)} MiB  ${sample.files} files  ${good.times.length} good answers  ${log.lines} log lines`,
    )
    for (const fault of [...good.faults, ...health.faults])
      if (!reported.has(fault)) options.onProgress?.(`✖ ${fault}`)
    reported = new Set([...good.faults, ...health.faults])
  }
  const tally = await attackers.stop()
  await Promise.all([good.stop(), health.stop()])
  const endedEarly = sidecar.ended()
  const alive = endedEarly === undefined
  const filesAfter = alive ? await settledFiles(pid, filesBefore) : Number.NaN
  const metrics = alive ? (await ask(healthPort, { path: '/metrics' })).body : ''
  const stopping = performance.now()
  const exit = await sidecar.stop()
  return {
    options,
    samples,
    filesBefore,
    filesAfter,
    tally,
    good,
    health,
    log,
    broker,
    endedEarly,
    exit,
    exitMs: performance.now() - stopping,
    metrics,
  }
}

/** Number of open files once it is back at what it was, or after a deadline. */
async function settledFiles(pid: number, before: number): Promise<number> {
  const deadline = performance.now() + SETTLE_MS
  while (openFiles(pid) > before && performance.now() < deadline) await sleep(50)
  return openFiles(pid)
}

function startAttackers(workerData: AttackersOptions): { readonly stop: () => Promise<Tally> } {
  const worker = new Worker(new URL('./attackers.ts', import.meta.url), { workerData })
  const tally = new Promise<Tally>((done, fail) => {
    worker.once('message', done).once('error', fail)
    worker.once('exit', (code) => fail(new Error(`the attackers ended with ${code}`)))
  })
  // An error is reported when they are stopped.
  tally.catch(() => {})
  return {
    stop: async () => {
      worker.postMessage('stop')
      return tally
    },
  }
}
