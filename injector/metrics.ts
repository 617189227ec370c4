import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Reason } from './reasons.ts'

export type InjectorMetrics = {
  /** One review answered; all labels are bounded. */
  readonly observe: (webhook: 'mutate' | 'validate', outcome: string, reason: Reason, seconds: number) => void
  /** End of the serving certificate's life, milliseconds since 1970. */
  readonly certificateNotAfter: (milliseconds: number) => void
  /** Whether the live `caBundle`s are as the built-in authority wants them; asked at every scrape. */
  readonly bundleInSync: (ask: () => boolean | undefined) => void
  readonly text: () => Promise<string>
}

/** Buckets end at the webhook's five seconds. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

/** Prometheus metrics of one injector, in a registry of their own. */
export function injectorMetrics(): InjectorMetrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'pod2iam_' })
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
  const notAfter = new Gauge({
    name: 'pod2iam_injector_certificate_not_after_seconds',
    help: 'End of the serving certificate, seconds since 1970.',
    registers: [registry],
  })
  return {
    observe(webhook, outcome, reason, seconds) {
      reviews.inc({ webhook, outcome, reason })
      duration.observe({ webhook, outcome }, seconds)
    },
    certificateNotAfter: (milliseconds) => notAfter.set(milliseconds / 1000),
    bundleInSync(ask) {
      new Gauge({
        name: 'pod2iam_injector_ca_bundle_in_sync',
        help: '1 when every caBundle is as the built-in authority wants it.',
        registers: [registry],
        collect() {
          this.set(ask() === true ? 1 : 0)
        },
      })
    },
    text: () => registry.metrics(),
  }
}
