/** The soak of the injector: the built bundle under its chart's memory limit, hostile peers, and a tenant who creates pods. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { memoryCgroup } from '../../bench/cgroup.ts'
import { NODE_FLAGS, type RunningInjector, startInjector } from '../../bench/injector/process.ts'
import { reviewBytes } from '../../bench/injector/reviews.ts'
import { exchange } from '../../bench/load.ts'
import { MIB, quantile } from '../memory.ts'
import type { AttackersOptions, Tally } from './attackers.ts'

export type InjectorSoakOptions = {
  readonly seed: number
  readonly durationMs: number
  /** The number of addresses that the attack comes from: one pod, or many. */
  readonly addresses: number
  readonly connections: number
  /** The bundle of another release, to compare its figures. */
  readonly built?: string
  readonly onProgress?: (line: string) => void
}

export type InjectorObservations = {
  readonly options: InjectorSoakOptions
  readonly tally: Tally
  /** Milliseconds of the good tenant's answered reviews. */
  readonly times: readonly number[]
  /** Its reviews that got no answer, or one other than 200. */
  readonly failures: number
  /** Of the cgroup, its children included, bytes. */
  readonly peak: number | undefined
  /** Working set at equal intervals, bytes. */
  readonly samples: readonly number[]
  readonly kills: number
  readonly isAlive: boolean
}

/** `injector.resources.limits.memory` of the chart. */
export const INJECTOR_LIMIT = 192 * MIB
/** Twenty pods a second are a busy cluster. */
const INTERVAL_MS = 50
const SAMPLE_MS = 5000

/** Runs it; everything that it started has ended when it resolves or rejects. */
export async function soakInjector(options: InjectorSoakOptions): Promise<InjectorObservations> {
  const cgroup = memoryCgroup(`pod2iam-soak-${process.pid}-${options.addresses}`, INJECTOR_LIMIT)
  try {
    const injector = await startInjector([], NODE_FLAGS, {
      cgroupProcs: cgroup.procs,
      ...(options.built === undefined ? {} : { bundle: options.built }),
    })
    try {
      return await observe(injector, cgroup, options)
    } finally {
      await injector.end()
    }
  } finally {
    cgroup.remove()
  }
}

async function observe(
  injector: RunningInjector,
  cgroup: ReturnType<typeof memoryCgroup>,
  options: InjectorSoakOptions,
): Promise<InjectorObservations> {
  const { port, ca } = injector
  const { seed, addresses, connections, durationMs } = options
  const attackers = await startAttackers({ port, ca, seed, addresses, connections })
  const good = goodTenant(injector)
  const samples: number[] = []
  const end = performance.now() + durationMs
  while (performance.now() < end && injector.isAlive()) {
    await sleep(Math.min(SAMPLE_MS, Math.max(1, end - performance.now())))
    samples.push(cgroup.workingSet())
    const { times, failures } = good.seen()
    options.onProgress?.(
      `${Math.round((end - performance.now()) / 1000)} s left, ${Math.round((samples.at(-1) ?? 0) / MIB)} MiB, good tenant: ${times.length} pods, p99 ${quantile(times, 0.99).toFixed(0)} ms, ${failures} failures`,
    )
  }
  const { times, failures } = await good.stop()
  const isAlive = injector.isAlive()
  const tally = await attackers.stop()
  return { options, tally, times, failures, samples, isAlive, peak: cgroup.peak(), kills: cgroup.kills() }
}

/** One connection like an API server's, with a pod at each interval; a review waits for the one before it no longer than its answer takes. */
function goodTenant({ port, dial, isAlive }: RunningInjector) {
  const bytes = reviewBytes(4_000)
  const times: number[] = []
  let [failures, isOver] = [0, false]
  const run = async () => {
    let socket: Awaited<ReturnType<typeof dial>> | undefined
    while (!isOver && isAlive()) {
      const started = performance.now()
      try {
        socket = socket?.destroyed === false ? socket : await dial(port)
        if ((await exchange(socket, bytes)) === 200) times.push(performance.now() - started)
        else failures++
      } catch {
        failures++
        socket?.destroy()
      }
      await sleep(Math.max(1, INTERVAL_MS - (performance.now() - started)))
    }
    socket?.destroy()
  }
  const running = run()
  return {
    seen: () => ({ times, failures }),
    stop: async () => {
      isOver = true
      await running
      return { times, failures }
    },
  }
}

/** Resolves when the attack begins: writing the first requests takes seconds. */
async function startAttackers(
  workerData: AttackersOptions,
): Promise<{ readonly stop: () => Promise<Tally> }> {
  const worker = new Worker(new URL('./attackers.ts', import.meta.url), { workerData })
  await once(worker, 'message')
  const tally = new Promise<Tally>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject)
  })
  tally.catch(() => undefined)
  return {
    async stop() {
      worker.postMessage('stop')
      const result = await tally
      await worker.terminate()
      return result
    },
  }
}
