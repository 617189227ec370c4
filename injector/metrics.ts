import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { registerBuildInfo } from '../common/build-gauge.ts'
import type { EventOutcome } from '../common/kube/events.ts'
import { registerLostLines } from '../common/log-counter.ts'
import { VERSION } from '../common/version.ts'
import type { PeerKind } from './peers/peer.ts'
import type { PodWatch } from './pod-watch/pod-watch.ts'
import type { Reason } from './reasons.ts'
import type { StartupTaint } from './startup-taint/remove.ts'

export type InjectorMetrics = ReturnType<typeof injectorMetrics>

/** Buckets end at the webhook's five seconds. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

/** Prometheus metrics of one injector, in their own registry. */
export function injectorMetrics() {
  const registry = new Registry()
  const gauge = gaugesOf(registry)
  collectDefaultMetrics({ register: registry, prefix: 'pod2iam_' })
  const notAfter = new Gauge({
    name: 'pod2iam_injector_certificate_not_after_seconds',
    help: 'End of the serving certificate, seconds since 1970.',
    registers: [registry],
  })
  new Gauge({
    name: 'pod2iam_injector_build_info',
    help: 'Version of this build.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version: VERSION }, 1)
  registerBuildInfo(registry, 'injector')
  registerLostLines(registry, 'pod2iam_injector_log_lines_lost_total')
  const events = new Counter({
    name: 'pod2iam_injector_events_total',
    help: 'Events on pods, by outcome (sent, there-already, limited, failed).',
    labelNames: ['outcome'],
    registers: [registry],
  })
  return {
    /** Counts an answered review; all labels are bounded. */
    observe: reviewMetrics(registry),
    /** End of the serving certificate's life, milliseconds since 1970. */
    certificateNotAfter: (milliseconds: number) => notAfter.set(milliseconds / 1000),
    /** Whether the live `caBundle`s are as the built-in authority wants them; called at every scrape. */
    bundleInSync: (ask: () => boolean | undefined) =>
      gauge(
        'ca_bundle_in_sync',
        '1 when every caBundle is as the built-in authority wants it.',
        [],
        (shown) => shown.set(ask() === true ? 1 : 0),
      ),
    /** Counts an Event, written or not. */
    event: (outcome: EventOutcome) => events.inc({ outcome }),
    /** What the watch over pods has found; called at every scrape. */
    podWatch: (watch: PodWatch) => podWatchGauges(registry, watch),
    startupTaint: (taint: StartupTaint) => startupTaintGauges(registry, taint),
    /** The injector's other replicas by kind; called at every scrape. */
    peers: (count: () => Readonly<Record<PeerKind, number>>) =>
      gauge(
        'peers',
        'Other replicas of the injector, by kind (same, other-settings, strict: accepts only what it would write, unreadable).',
        ['kind'],
        (shown) => {
          for (const [kind, replicas] of Object.entries(count())) shown.set({ kind }, replicas)
        },
      ),
    text: () => registry.metrics(),
  }
}

function reviewMetrics(registry: Registry) {
  const reviews = new Counter({
    name: 'pod2iam_injector_reviews_total',
    help: 'Admission reviews answered, by webhook, outcome (patch, skip, allow, deny, error) and reason.',
    labelNames: ['webhook', 'outcome', 'reason'],
    registers: [registry],
  })
  const duration = new Histogram({
    name: 'pod2iam_injector_review_duration_seconds',
    help: 'Time from a review read to its answer, the look-up of the namespace included.',
    labelNames: ['webhook', 'outcome'],
    buckets: BUCKETS,
    registers: [registry],
  })
  return (webhook: 'mutate' | 'validate' | 'warn', outcome: string, reason: Reason, seconds: number) => {
    reviews.inc({ webhook, outcome, reason })
    duration.observe({ webhook, outcome }, seconds)
  }
}

/** Every replica watches and shows the same numbers: queries take the maximum. */
function podWatchGauges(registry: Registry, watch: PodWatch): void {
  const gauge = gaugesOf(registry)
  gauge('sidecars', 'Pods with a sidecar, by the release that injected it.', ['version'], (shown) => {
    shown.reset()
    for (const [version, count] of watch.counts().versions) shown.set({ version }, count)
  })
  gauge(
    'pod_findings',
    'Pods of opted-in namespaces that lack their sidecar, or have been waiting for their gate or sidecar for more than 30 s.',
    ['finding'],
    (shown) => {
      for (const [finding, count] of Object.entries(watch.counts().findings)) shown.set({ finding }, count)
    },
  )
  gauge(
    'watch_age_seconds',
    'Time since the API server last sent something about what is watched.',
    ['watch'],
    (shown) => {
      for (const [name, age] of Object.entries(watch.ages()))
        if (age !== undefined) shown.set({ watch: name }, age)
    },
  )
  gauge(
    'unwatched_pods',
    'Pods for which the watch has no room: they get no Events, or are missing in the count of sidecars.',
    [],
    (shown) => shown.set(watch.leftOut()),
  )
}

function startupTaintGauges(registry: Registry, taint: StartupTaint): void {
  gaugesOf(registry)('tainted_nodes', 'Nodes that carry the startup taint.', [], (shown) =>
    shown.set(taint.tainted()),
  )
  new Counter({
    name: 'pod2iam_injector_startup_taints_removed_total',
    help: 'Nodes from which this replica has removed the startup taint.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(taint.removed())
    },
  })
}

/** Gauges that are set at every scrape. */
function gaugesOf(registry: Registry) {
  return <Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    collect: (gauge: Gauge<Label>) => void,
  ) =>
    new Gauge({
      name: `pod2iam_injector_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        collect(this)
      },
    })
}
