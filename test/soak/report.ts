/** A soak as a table for people. */
import { flatness, MIB, quantile } from './memory.ts'
import type { Observations } from './soak.ts'
import { LATE_MS, lateAnswers } from './verdict.ts'

/** The lines of the summary. */
export function report(seen: Observations): string {
  const { options, samples, tally, good, health, log, broker } = seen
  const memory = samples.map((sample) => sample.memory)
  const { first, last } = flatness(memory)
  const rows: [string, string][] = [
    ['duration, seed', `${Math.round(options.durationMs / 1000)} s, ${options.seed}`],
    ['attacks / connections / requests', `${tally.attacks} / ${tally.connections} / ${tally.requests}`],
    ['answers to attackers, by status', counts(tally.statuses)],
    ['attackers without a connection', String(tally.unconnected)],
    ['faults seen by attackers', String(tally.faultCount)],
    [
      'good client: answers, faults, retried',
      `${good.times.length}, ${good.faultCount()}, ${good.retried()}`,
    ],
    ['good client: p50 / p99 / max, ms', times(good.times)],
    [`good client: answers later than ${LATE_MS} ms`, String(lateAnswers(good.times))],
    ['health port: answers, faults', `${health.times.length}, ${health.faultCount()}`],
    ['health port: p50 / p99 / max, ms', times(health.times)],
    ['memory: first sample, most', `${mib(memory[0])}, ${mib(Math.max(...memory))}`],
    ['memory: first and last third', `${mib(first)}, ${mib(last)}`],
    [
      'open files: before, most, after',
      `${seen.filesBefore}, ${Math.max(...samples.map(({ files }) => files))}, ${seen.filesAfter}`,
    ],
    ['log: lines, KiB, longest', `${log.lines}, ${Math.round(log.bytes / 1024)}, ${log.longest}`],
    ['log: messages', counts(log.byMessage)],
    ['broker: answers', counts(broker.answers)],
    ['broker: credentials issued', String(broker.generations.length)],
    ['end after SIGTERM', `${seen.exit} in ${Math.round(seen.exitMs)} ms`],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

function counts(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([name, count]) => `${name}: ${count}`)
    .join(', ')
}

function times(values: readonly number[]): string {
  return [0.5, 0.99, 1].map((q) => quantile(values, q).toFixed(1)).join(' / ')
}

function mib(bytes: number | undefined): string {
  return bytes === undefined ? '-' : `${(bytes / MIB).toFixed(1)} MiB`
}
