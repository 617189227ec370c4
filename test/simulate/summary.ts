/** The result of a simulation, in figures that fit into a table and curves that fit into a plot. */
import type { Result } from './fleet.ts'
import type { Fleet } from './fleet-size.ts'
import { SAMPLE_MS } from './samples.ts'
import type { Scenario } from './scenarios.ts'

export type Summary = {
  readonly scenario: string
  readonly title: string
  readonly fleet: Fleet
  readonly minutes: number
  readonly figures: Readonly<Record<Figure, number>>
  /** A point for every half minute of the scenario; of calls and requests the mean per second. */
  readonly curves: {
    readonly granted: readonly number[]
    readonly refused: readonly number[]
    readonly valid: readonly number[]
    readonly requests: readonly number[]
  }
}

const FIGURES = [
  'leastValid',
  'expired',
  'neglected',
  'stale',
  'waitMedian',
  'wait99',
  'waitMost',
  'granted',
  'refused',
  'grantedMost',
  'callsMost',
  'callsOfOneNode',
  'herd',
  'lists',
  'listsMost',
  'watchesMost',
  'megabytes',
  'megabytesMost',
] as const
type Figure = (typeof FIGURES)[number]

/** Seconds in one point of a curve; as many as from one sample to the next. */
export const POINT_SECONDS = SAMPLE_MS / 1000

const PEAK_SECONDS = 10

/** If nothing existed at first, the share of pods with credentials counts from here. */
const STARTED_SECONDS = 10 * 60

export function summary(scenario: Scenario, fleet: Fleet, result: Result): Summary {
  const { samples, waits } = result
  const whole = (series: readonly number[]) => series.map((value) => value * fleet.share)
  const [granted, refused, lists] = [whole(result.granted), whole(result.refused), whole(result.lists)]
  const [watches, bytes] = [whole(result.watches), whole(result.bytes)]
  const calls = granted.map((value, second) => value + (refused[second] ?? 0))
  const requests = lists.map((value, second) => value + (watches[second] ?? 0))
  const shares = samples
    .filter(({ second }) => scenario.steady || second >= STARTED_SECONDS)
    .filter(({ pods }) => pods > 0)
    .map(({ pods, valid }) => valid / pods)
  return {
    scenario: scenario.name,
    title: scenario.title,
    fleet,
    minutes: scenario.minutes,
    figures: {
      leastValid: least(shares),
      expired: result.expired * fleet.share,
      neglected: result.neglected * fleet.share,
      stale: result.stale * fleet.share,
      waitMedian: at(waits, 0.5) / 1000,
      wait99: at(waits, 0.99) / 1000,
      waitMost: at(waits, 1) / 1000,
      granted: sum(granted),
      refused: sum(refused),
      grantedMost: peak(granted),
      callsMost: peak(calls),
      callsOfOneNode: result.mostOfOneNode,
      herd: herd(granted),
      lists: sum(lists),
      listsMost: peak(lists),
      watchesMost: peak(watches),
      megabytes: sum(bytes) / 1e6,
      megabytesMost: peak(bytes) / 1e6,
    },
    curves: {
      granted: means(granted, POINT_SECONDS),
      refused: means(refused, POINT_SECONDS),
      valid: samples.map(({ pods, valid }) => (pods === 0 ? 0 : valid / pods)),
      requests: means(requests, POINT_SECONDS),
    },
  }
}

/**
 * The busiest minute of STS divided by the mean minute, both after the first twenty minutes: whether renewals come
 * together.
 */
function herd(granted: readonly number[]): number {
  const minutes = means(granted, 60).slice(20)
  const mean = sum(minutes) / minutes.length
  return mean > 0 ? most(minutes) / mean : 0
}

/**
 * The maximum per second, as a mean over ten seconds: the smaller the share of the fleet that is simulated, the more a single second
 * depends on chance; and STS and API server both allow bursts of a second's worth or more.
 */
const peak = (series: readonly number[]) => most(means(series, PEAK_SECONDS))

function means(series: readonly number[], seconds: number): number[] {
  const points: number[] = []
  for (let from = 0; from < series.length; from += seconds) {
    const part = series.slice(from, from + seconds)
    points.push(sum(part) / part.length)
  }
  return points
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0)
const least = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b), 1)
const at = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
