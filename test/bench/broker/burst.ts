/** All pods of a node request credentials from a cold broker at once. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestPod } from '../../broker/world.ts'
import { type MemoryCgroup, memoryCgroup } from '../cgroup.ts'
import { type Figure, median } from '../report.ts'
import { askUntilGiven, type BrokerProcess, spawnBroker, type Workshop } from './process.ts'

const STS_MS = 80
/** Memory is read this long after a load, because what is freed a moment later is not what a broker costs. */
const SETTLE_MS = 1500

type Burst = {
  /** Milliseconds until the last pod had credentials. */
  readonly last: number
  /** Pods that were told to retry at least once. */
  readonly again: number
  readonly calls: number
}

/** @param broker freshly started: no pod has called it */
async function burst({ world }: Workshop, broker: BrokerProcess, pods: readonly TestPod[]): Promise<Burst> {
  await world.aws.clearRecords()
  const fault = await world.aws.fault({ service: 'sts', kind: 'slow', ms: STS_MS, action: 'AssumeRole' })
  try {
    const waits = await Promise.all(pods.map((pod) => askUntilGiven(broker.port, pod)))
    const last = Math.max(...waits.map(({ milliseconds }) => milliseconds))
    const calls = (await world.aws.calls({})).filter(({ action }) => action === 'AssumeRole').length
    return { last, again: waits.filter(({ tries }) => tries > 1).length, calls }
  } finally {
    await world.aws.clearFaults(fault)
  }
}

/** Time, STS calls and memory of some cold starts; `identities` is the number of sessions that STS must issue. */
export async function burstFigures(
  workshop: Workshop,
  pods: readonly TestPod[],
  rounds: number,
): Promise<Figure[]> {
  const runs: (Burst & { idle: number; peak: number })[] = []
  for (let round = 0; round < rounds; round++) {
    const broker = await spawnBroker(workshop)
    try {
      await sleep(SETTLE_MS)
      const idle = broker.peak()
      const result = await burst(workshop, broker, pods)
      await sleep(SETTLE_MS)
      runs.push({ ...result, idle, peak: broker.peak() })
    } finally {
      await broker.end()
    }
  }
  const note = `${runs.length} cold brokers`
  const worst = (values: readonly number[]) => Math.max(...values)
  return [
    {
      name: `until the last of ${pods.length} pods has credentials`,
      value: median(runs.map(({ last }) => last)),
      unit: 'ms',
      note: `median of ${note}; STS takes ${STS_MS} ms, at most 20 calls a second (--sts-qps)`,
    },
    {
      name: 'pods that had to ask again',
      value: worst(runs.map(({ again }) => again)),
      unit: '',
      target: 0,
      note,
    },
    {
      name: 'STS calls per identity, most',
      value: worst(runs.map(({ calls }) => calls)) / pods.length,
      unit: '',
      target: 1,
      note: `least: ${Math.min(...runs.map(({ calls }) => calls)) / pods.length}`,
    },
    {
      name: 'private memory, peak before anybody asks',
      value: worst(runs.map(({ idle }) => idle)),
      unit: 'MiB',
      note: `worst of ${note}`,
    },
    {
      name: 'private memory, peak',
      value: worst(runs.map(({ peak }) => peak)),
      unit: 'MiB',
      target: 64,
      note: `worst of ${note}`,
    },
  ]
}

/** Under `--session-scope=role`: pods of one role share a session. */
export async function sharedFigure(
  workshop: Workshop,
  pods: readonly TestPod[],
  roles: number,
): Promise<Figure> {
  const broker = await spawnBroker(workshop, { args: ['--session-scope=role'] })
  try {
    const { calls } = await burst(workshop, broker, pods)
    const name = 'STS calls per identity, --session-scope=role'
    return { name, value: calls / roles, unit: '', target: 1, note: `${roles} roles` }
  } finally {
    await broker.end()
  }
}

/** The burst under a limit of memory, as a container has it. */
export async function underLimit(
  workshop: Workshop,
  pods: readonly TestPod[],
  limitMiB: number,
): Promise<Figure> {
  const name = `pods without credentials under ${limitMiB} MiB`
  let cgroup: MemoryCgroup
  try {
    cgroup = memoryCgroup(`pod2iam-bench-${process.pid}-broker-${limitMiB}`, limitMiB * 2 ** 20)
  } catch (error) {
    return {
      name,
      value: undefined,
      unit: '',
      note: `left out: ${error instanceof Error ? error.message : error}`,
    }
  }
  try {
    let missing = pods.length
    let broker: BrokerProcess | undefined
    try {
      broker = await spawnBroker(workshop, { cgroupProcs: cgroup.procs })
      await burst(workshop, broker, pods)
      missing = 0
    } catch {
      // Killed or stuck: no pod counts as served.
    } finally {
      await broker?.end()
    }
    return {
      name,
      value: missing,
      unit: '',
      target: 0,
      note: `processes killed by the kernel: ${cgroup.kills()}`,
    }
  } finally {
    cgroup.remove()
  }
}
