/** The requirements for a soak of the injector or the broker, each as a sentence when it is not met; and its table. Pure. */
import { MIB, quantile } from './memory.ts'

export type ServiceObservations = {
  readonly times: readonly number[]
  /** Requests of the good client that got no answer or a wrong one. */
  readonly failures: number
  readonly peak: number | undefined
  readonly samples: readonly number[]
  readonly kills: number
  readonly isAlive: boolean
  /** Answers to the attackers by status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Answers to attackers that should not have been given, as sentences. */
  readonly faults: readonly string[]
}

export type ServiceBounds = { readonly p99: number; readonly limit: number }

/** The sentences; none when all requirements are met. */
export function serviceFaults(seen: ServiceObservations, { p99, limit }: ServiceBounds): string[] {
  const late = quantile(seen.times, 0.99)
  const answers = Object.values(seen.statuses).reduce((sum, count) => sum + count, 0)
  return [
    ...when(
      !seen.isAlive || seen.kills > 0,
      `It was ended by the attack (killed for its memory: ${seen.kills}).`,
    ),
    ...when(seen.times.length === 0, 'The good client got no answer at all.'),
    ...when(seen.failures > 0, `The good client got no answer, or a wrong one, ${seen.failures} times.`),
    ...when(late > p99, `The good client's p99 is ${late.toFixed(0)} ms, more than ${p99} ms.`),
    ...when((seen.peak ?? 0) >= limit, `Its memory reached the limit of ${limit / MIB} MiB.`),
    ...when(answers === 0, 'Nobody attacked.'),
    ...seen.faults,
  ]
}

/** The lines of the summary. */
export function serviceReport(seen: ServiceObservations): string {
  const mib = (bytes: number | undefined) => (bytes === undefined ? '-' : `${(bytes / MIB).toFixed(0)} MiB`)
  const times = [0.5, 0.99, 1].map((q) => quantile(seen.times, q).toFixed(1)).join(' / ')
  const statuses = Object.entries(seen.statuses).map(([status, count]) => `${status}: ${count}`)
  return [
    `answers to attackers, by status       ${statuses.join(', ')}`,
    `good client: answers, failures        ${seen.times.length}, ${seen.failures}`,
    `good client: p50 / p99 / max, ms      ${times}`,
    `memory of the cgroup: peak, last      ${mib(seen.peak)}, ${mib(seen.samples.at(-1))}`,
  ].join('\n')
}

const when = (holds: boolean, sentence: string): string[] => (holds ? [sentence] : [])
