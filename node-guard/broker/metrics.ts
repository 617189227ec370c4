import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { registerBuildInfo } from '../../common/build-gauge.ts'
import { registerLostLines } from '../../common/log-counter.ts'
import { PROBLEMS } from '../../common/protocol.ts'
import { VERSION } from '../../common/version.ts'
import type { StsFailure } from './aws/classify.ts'
import type { BrokerSettings } from './settings.ts'

/** Outcomes of calls of STS. */
const OUTCOMES: Readonly<Record<'success' | StsFailure, true>> = {
  success: true,
  denied: true,
  invalid: true,
  chaining: true,
  throttled: true,
  'node-credentials': true,
  unavailable: true,
}

/** Read when Prometheus asks. */
export type Observed = {
  readonly pods: () => number
  readonly sessions: () => number
  /** Milliseconds since the epoch. */
  readonly soonestExpiry: () => number | undefined
  readonly overdue: () => number
  readonly waitingForSts: () => number
  /** Seconds since the API server last sent something, by watch. */
  readonly watchAges: () => Readonly<Record<string, number>>
  /** Objects too large to be read, by watch. */
  readonly leftOut: () => Readonly<Record<string, number>>
  readonly listeners: () => number
}

/** The settings that restrict this broker to certain roles. */
type RoleRestrictions = Pick<BrokerSettings, 'namespaceRestrictions' | 'permittedRoles'>

export type BrokerMetrics = ReturnType<typeof brokerMetrics>

/** The broker's metrics. Labels are bounded: no pod, role, ARN or external id is ever one. */
export function brokerMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Counter({ name: `pod2iam_broker_${name}`, help, labelNames, registers })
  const requests = counter(
    'requests_total',
    'Requests by path and outcome: ok, or the code of the refusal.',
    'path',
    'code',
  )
  const requestSeconds = new Histogram({
    name: 'pod2iam_broker_request_duration_seconds',
    help: 'Time to answer a request for credentials.',
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2, 10],
    registers,
  })
  const stsCalls = counter('sts_calls_total', 'STS AssumeRole calls by outcome.', 'outcome')
  const cache = counter('cache_total', 'Lookups of sessions by outcome.', 'outcome')
  const events = counter('events_total', 'Kubernetes Events by outcome.', 'outcome')
  new Gauge({ name: 'pod2iam_broker_info', help: 'The version.', labelNames: ['version'], registers }).set(
    { version: VERSION },
    1,
  )
  registerBuildInfo(registry, 'broker')
  registerLostLines(registry, 'pod2iam_broker_log_lines_lost_total')
  // So that the rate of an event that has not happened yet is 0 instead of absent, and its first occurrence counts.
  for (const code of Object.keys(PROBLEMS)) requests.inc({ path: 'credentials', code }, 0)
  for (const outcome of Object.keys(OUTCOMES)) stsCalls.inc({ outcome }, 0)
  const observe = (observed: Observed) => showObserved(registry, observed)
  const restricts = (restrictions: RoleRestrictions) => showRestrictions(registry, restrictions)
  return { registry, requests, requestSeconds, stsCalls, cache, events, restricts, observe }
}

function showRestrictions(registry: Registry, { namespaceRestrictions, permittedRoles }: RoleRestrictions) {
  const gauge = new Gauge({
    name: 'pod2iam_broker_role_restrictions',
    help: 'Whether the roles of pods are restricted, and by what: namespace, permitted-roles.',
    labelNames: ['by'],
    registers: [registry],
  })
  gauge.set({ by: 'namespace' }, namespaceRestrictions ? 1 : 0)
  gauge.set({ by: 'permitted-roles' }, permittedRoles.length > 0 ? 1 : 0)
}

function showObserved(registry: Registry, observed: Observed): void {
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `pod2iam_broker_${name}`,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
  gauge('pods', 'Pods of this node.', observed.pods)
  gauge('sessions', 'Sessions held.', observed.sessions)
  gauge(
    'sessions_overdue',
    'Sessions in use with less than a third of their life left, which should have been renewed at half.',
    observed.overdue,
  )
  gauge('listeners', 'Addresses listened on.', observed.listeners)
  gauge('sts_waiting', 'Calls waiting for their turn at STS.', observed.waitingForSts)
  gauge(
    'soonest_expiry_timestamp_seconds',
    'When the first of the held sessions expires; 0 when there is none.',
    () => (observed.soonestExpiry() ?? 0) / 1000,
  )
  const byWatch = (name: string, help: string, read: () => Readonly<Record<string, number>>) =>
    new Gauge({
      name: `pod2iam_broker_${name}`,
      help,
      labelNames: ['watch'],
      registers,
      collect() {
        for (const [watch, value] of Object.entries(read())) this.set({ watch }, value)
      },
    })
  byWatch(
    'watch_age_seconds',
    'Time since the API server last said something on a watch.',
    observed.watchAges,
  )
  byWatch(
    'watch_left_out',
    'How often since the start an object was left out because it was too large to be read.',
    observed.leftOut,
  )
}
