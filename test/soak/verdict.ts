/** The requirements for a soak, each as a sentence when it is not met. Pure. */
import { flatness, MIB, MOST_GROWTH, quantile } from './memory.ts'
import { HEALTH_WORDS, wordIn } from './secrets.ts'
import type { Observations } from './soak.ts'

/** How long SDKs wait for an answer, most of them without a retry, milliseconds. */
export const LATE_MS = 1000

export type Bounds = {
  /** The limit for the good client's times, milliseconds. */
  readonly p99: number
  /** Share of its answers, 0 to 1, that may come later than {@link LATE_MS}. */
  readonly lateShare: number
  /** How long the end after SIGTERM may take, milliseconds. */
  readonly exitMs: number
  /** Whether the run is long enough to judge growth. */
  readonly flat: boolean
}

/** The memory limit that the injector gives the container: beyond it the kernel ends the process. */
const MOST_MEMORY = 48 * MIB
/** Changes of state in the broker's answers and in the process, in addition to the lines of requests. */
const LINES_BESIDE_REQUESTS = 300
/** A path of 300 characters, each of which may be escaped, and the other fields. */
const LONGEST_LINE = 2300
/** Routes times statuses, refresh outcomes and the help texts. */
const MOST_METRIC_LINES = 150

/** The sentences; none when all requirements are met. */
export function faultsOf(seen: Observations, bounds: Bounds): string[] {
  return [
    ...process(seen, bounds),
    ...clients(seen, bounds),
    ...seen.tally.faults,
    ...memory(seen, bounds),
    ...logs(seen),
    ...metrics(seen),
  ]
}

function process(
  { endedEarly, exit, exitMs, filesBefore, filesAfter }: Observations,
  bounds: Bounds,
): string[] {
  if (endedEarly !== undefined) return [`The sidecar ended on its own with ${endedEarly}.`]
  return [
    ...when(exit !== 0, `After SIGTERM the sidecar ended with ${exit} instead of 0.`),
    ...when(exitMs > bounds.exitMs, `After SIGTERM the sidecar took ${Math.round(exitMs)} ms to end.`),
    ...when(
      filesAfter > filesBefore,
      `The sidecar holds ${filesAfter} open files after the attack, ${filesBefore} before it.`,
    ),
  ]
}

function clients({ good, health, tally }: Observations, bounds: Bounds): string[] {
  const p99 = quantile(good.times, 0.99)
  const late = lateAnswers(good.times)
  return [
    ...good.faults.map((fault) => `The good client: ${fault}`),
    ...health.faults.map((fault) => `The health port: ${fault}`),
    ...when(good.times.length === 0, 'The good client got no answer at all.'),
    ...when(p99 > bounds.p99, `The good client's p99 is ${p99.toFixed(1)} ms, more than ${bounds.p99} ms.`),
    ...when(
      late > good.times.length * bounds.lateShare,
      `${late} of ${good.times.length} answers came to the good client later than ${LATE_MS} ms.`,
    ),
    ...when(tally.attacks === 0 || tally.connections === 0, 'Nobody attacked.'),
  ]
}

/** How many answers came later than SDKs wait. */
export function lateAnswers(times: readonly number[]): number {
  return times.filter((time) => time > LATE_MS).length
}

function memory({ samples }: Observations, { flat }: Bounds): string[] {
  const values = samples.map((sample) => sample.memory)
  const most = Math.max(...values)
  const { first, last, flat: isFlat } = flatness(values)
  return [
    ...when(!(most <= MOST_MEMORY), `Private memory reached ${mib(most)}, more than ${mib(MOST_MEMORY)}.`),
    ...when(
      flat && !isFlat,
      `Private memory grew from ${mib(first)} to ${mib(last)} (medians), by more than ${mib(MOST_GROWTH)}.`,
    ),
  ]
}

function logs({ log, good, tally }: Observations): string[] {
  const most = good.requests() + tally.requests + LINES_BESIDE_REQUESTS
  const shown = [...log.tokenLike].filter((token) => good.tokens.has(token))
  return [
    ...log.faults,
    ...log.errors.map((line) => `It logged an error: ${line}`),
    ...shown.slice(0, 3).map((token) => `The session token ${token} is in the log.`),
    ...when(log.lines > most, `It logged ${log.lines} lines for at most ${most} requests and events.`),
    ...when(log.longest > LONGEST_LINE, `It logged a line of ${log.longest} characters.`),
  ]
}

function metrics({ metrics: text, endedEarly }: Observations): string[] {
  if (endedEarly !== undefined) return []
  const word = wordIn(text, HEALTH_WORDS)
  const count = text.split('\n').length
  return [
    ...when(text === '', '/metrics is empty.'),
    ...when(word !== undefined, `/metrics contains ${word}.`),
    ...when(count > MOST_METRIC_LINES, `/metrics has grown to ${count} lines.`),
  ]
}

function when(holds: boolean, sentence: string): string[] {
  return holds ? [sentence] : []
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}
