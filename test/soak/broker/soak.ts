/** The soak of the broker: the built bundle under its chart's memory limit, hostile pods on its node, and a good one. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import {
  askUntilGiven,
  type BrokerProcess,
  openWorkshop,
  spawnBroker,
  type Workshop,
} from '../../bench/broker/process.ts'
import { memoryCgroup } from '../../bench/cgroup.ts'
import type { TestPod } from '../../broker/world.ts'
import { MIB, quantile } from '../memory.ts'
import type { AttackersOptions } from './attackers.ts'
import type { Tally } from './hostile.ts'

export type BrokerSoakOptions = {
  readonly seed: number
  readonly durationMs: number
  readonly connections: number
  readonly onProgress?: (line: string) => void
}

export type BrokerObservations = {
  readonly options: BrokerSoakOptions
  readonly tally: Tally
  /** Milliseconds until the good pod had its credentials, for each request. */
  readonly times: readonly number[]
  readonly failures: readonly string[]
  /** Of the cgroup, its children included, bytes. */
  readonly peak: number | undefined
  readonly samples: readonly number[]
  readonly kills: number
  readonly isAlive: boolean
}

/** `broker.resources.limits.memory` of the chart. */
export const BROKER_LIMIT = 160 * MIB
const HOSTILE_PODS = 10
const INTERVAL_MS = 100
const SAMPLE_MS = 5000

/** Runs it; everything that it started has ended when it resolves or rejects. */
export async function soakBroker(options: BrokerSoakOptions): Promise<BrokerObservations> {
  const cgroup = memoryCgroup(`pod2iam-soak-broker-${process.pid}`, BROKER_LIMIT)
  try {
    const workshop = await openWorkshop()
    try {
      const pods = await inhabit(workshop)
      const broker = await spawnBroker(workshop, { cgroupProcs: cgroup.procs })
      try {
        return await observe(broker, cgroup, pods, options)
      } finally {
        await broker.end()
      }
    } finally {
      await workshop.world.stop()
    }
  } finally {
    cgroup.remove()
  }
}

/** A good pod, and others that each have a token of this cluster, but no sidecar or a role of another pod. */
async function inhabit({ world }: Workshop): Promise<{ good: TestPod; hostile: TestPod[] }> {
  await world.role('app')
  await world.namespace('shop')
  await world.namespace('hostile', undefined, {})
  const good = await world.pod('shop', 'orders', { role: 'app' })
  const hostile: TestPod[] = []
  for (let index = 0; index < HOSTILE_PODS; index++)
    hostile.push(await world.pod('hostile', `pod-${index}`, { role: 'app', sidecar: index % 2 === 0 }))
  return { good, hostile }
}

async function observe(
  broker: BrokerProcess,
  cgroup: ReturnType<typeof memoryCgroup>,
  { good, hostile }: { readonly good: TestPod; readonly hostile: readonly TestPod[] },
  { seed, connections, durationMs, onProgress, ...rest }: BrokerSoakOptions,
): Promise<BrokerObservations> {
  const { port, child } = broker
  const isAlive = () => child.exitCode === null && child.signalCode === null
  const pods = hostile.map(({ ip, token }) => ({ ip, token }))
  const attackers = startAttackers({ port, seed, pods, stolen: good.token, connections })
  const [times, failures, samples]: [number[], string[], number[]] = [[], [], []]
  const end = performance.now() + durationMs
  let sampled = performance.now()
  while (performance.now() < end && isAlive()) {
    try {
      const { milliseconds } = await askUntilGiven(port, good)
      times.push(milliseconds)
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error))
    }
    await sleep(INTERVAL_MS)
    if (performance.now() - sampled < SAMPLE_MS) continue
    sampled = performance.now()
    samples.push(cgroup.workingSet())
    onProgress?.(
      `${Math.round((end - sampled) / 1000)} s left, ${Math.round((samples.at(-1) ?? 0) / MIB)} MiB, good pod: ${times.length} answers, p99 ${quantile(times, 0.99).toFixed(0)} ms, ${failures.length} failures`,
    )
  }
  const alive = isAlive()
  const tally = await attackers.stop()
  const options = { seed, connections, durationMs, ...rest }
  return {
    options,
    tally,
    times,
    failures,
    samples,
    isAlive: alive,
    peak: cgroup.peak(),
    kills: cgroup.kills(),
  }
}

function startAttackers(workerData: AttackersOptions): { readonly stop: () => Promise<Tally> } {
  const worker = new Worker(new URL('./attackers.ts', import.meta.url), { workerData })
  const result = once(worker, 'message')
  result.catch(() => undefined)
  return {
    async stop() {
      worker.postMessage('stop')
      const [tally] = (await result) as [Tally]
      await worker.terminate()
      return tally
    },
  }
}
