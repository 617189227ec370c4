/** The scenarios: what can happen to a fleet. */
import type { Fleet } from './fleet-size.ts'
import type { Node } from './node.ts'
import type { Span } from './span.ts'
import type { Time } from './time.ts'

const MINUTE = 60_000

/** A fleet runs this long before a scenario that begins in the middle of the day, so that its renewals are spread. */
export const STEADY_MS = 45 * MINUTE

type Stage = {
  readonly fleet: Fleet
  readonly time: Time
  readonly nodes: readonly Node[]
  /** Changes the roles that a namespace allows. */
  readonly putNamespace: (index: number, roles: readonly string[]) => void
}

export type Scenario = {
  readonly name: string
  readonly title: string
  readonly minutes: number
  /** The fleet has been running for a while when the scenario begins; otherwise nothing exists yet. */
  readonly steady: boolean
  /** Spans from the beginning of the scenario, milliseconds. */
  readonly stsAway?: readonly Span[]
  readonly apiAway?: readonly Span[]
  /** Values that differ from the fleet's own. */
  readonly fleet?: Partial<Fleet>
  readonly begin?: (stage: Stage) => void
}

const bootAll = ({ fleet, time, nodes }: Stage) => {
  for (const node of nodes) time.after(Math.random() * MINUTE, () => node.boot(fleet.podsPerNode, false))
}

const span = (from: number, to: number): Span[] => [{ from: from * MINUTE, to: to * MINUTE }]

/** Replaces a tenth of the nodes at a time, each of which is gone for two minutes. */
const roll = ({ fleet, time, nodes }: Stage) => {
  const atOnce = Math.max(1, Math.floor(nodes.length / 10))
  nodes.forEach((node, index) => {
    const wave = Math.floor(index / atOnce)
    time.after(wave * 5 * MINUTE + Math.random() * 2 * MINUTE, () => {
      node.remove()
      time.after(2 * MINUTE, () => node.boot(fleet.podsPerNode, false))
    })
  })
}

/** The clock of every tenth node is wrong by this much for an hour. */
const stepClocks =
  (minutes: number) =>
  ({ time, nodes }: Stage) => {
    for (const { clock } of nodes.filter((_, index) => index % 10 === 0))
      time.after(5 * MINUTE + Math.random() * MINUTE, () => {
        clock.set(minutes * MINUTE)
        time.after(60 * MINUTE, () => clock.set(0))
      })
  }

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'quiet',
    title: 'nothing but one change of a namespace',
    minutes: 40,
    steady: true,
    begin: ({ time, putNamespace }) => void time.after(30 * MINUTE, () => putNamespace(0, ['app', '*'])),
  },
  {
    name: 'restart',
    title: 'the whole cluster starts within a minute; STS takes whatever comes',
    minutes: 90,
    steady: false,
    fleet: { stsPerSecond: 100_000 },
    begin: bootAll,
  },
  {
    name: 'throttled',
    title: 'the whole cluster starts within a minute; STS has its default quota',
    minutes: 90,
    steady: false,
    begin: bootAll,
  },
  {
    name: 'rolling',
    title: 'every node is replaced, a tenth at a time, five minutes apart',
    minutes: 60,
    steady: true,
    begin: roll,
  },
  { name: 'sts', title: 'STS is away for 50 minutes', minutes: 100, steady: true, stsAway: span(5, 55) },
  {
    name: 'api',
    title: 'the API server is away for two hours and starts again',
    minutes: 140,
    steady: true,
    apiAway: span(5, 125),
  },
  {
    name: 'clock-back',
    title: 'the clocks of a tenth of the nodes are two hours behind, for an hour',
    minutes: 90,
    steady: true,
    begin: stepClocks(-120),
  },
  {
    name: 'clock-forward',
    title: 'the clocks of a tenth of the nodes are two hours ahead, for an hour',
    minutes: 90,
    steady: true,
    begin: stepClocks(120),
  },
]
