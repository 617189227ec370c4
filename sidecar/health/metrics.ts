/** Metrics as Prometheus text, written by hand: prom-client would cost 1.5 MiB in every pod. No role, no ARN. */
import { buildInfoText } from '../../common/build-info.ts'
import { LINES_LOST_HELP, linesLost } from '../../common/log-output.ts'
import { counter, gauge, prometheusText } from '../../common/prometheus-text.ts'
import { VERSION } from '../../common/version.ts'
import type { Outcome } from '../broker/outcome.ts'
import type { Exchange } from '../imds/app.ts'
import { routeOf } from './routes.ts'

type MetricsState = {
  /** Time until the credentials expire, milliseconds. */
  readonly remaining: number
  readonly ready: boolean
  /** Monotonic clock, milliseconds. */
  readonly now: number
}

export class Metrics {
  readonly #requests = new Map<string, number>()
  readonly #refreshes = new Map<string, number>()
  #lastSuccess: number | undefined

  /** Counts an exchange, answered or not. */
  exchange({ path, status, refusal }: Exchange): void {
    const reason = refusal === undefined ? '' : `,reason="${refusal}"`
    add(this.#requests, `{route="${routeOf(path)}",status="${status ?? 'none'}"${reason}}`)
  }

  /** Counts the outcome of a request to the broker; `now` by the monotonic clock, milliseconds. */
  refresh(outcome: Outcome, now: number): void {
    add(this.#refreshes, `{outcome="${outcome.kind === 'credentials' ? 'success' : outcome.code}"}`)
    if (outcome.kind === 'credentials') this.#lastSuccess = now
  }

  /** The exposition text. */
  text({ remaining, ready, now }: MetricsState): string {
    const age = this.#lastSuccess === undefined ? [] : [['', (now - this.#lastSuccess) / 1000] as const]
    const metrics = [
      gauge('build_info', 'Version of this build.', [[`{version="${VERSION}"}`, 1]]),
      gauge('ready', 'Whether /readyz answers 200.', ready),
      counter(
        'requests_total',
        'Metadata requests, those that were refused with the reason.',
        this.#requests,
      ),
      counter('refreshes_total', 'Requests to the broker for credentials, by outcome.', this.#refreshes),
      gauge('credentials_remaining_seconds', 'Life left of the credentials; 0 without.', remaining / 1000),
      gauge('last_success_age_seconds', 'Time since the broker last gave credentials.', age),
      counter(
        'log_lines_lost_total',
        LINES_LOST_HELP,
        Object.entries(linesLost()).map(([kind, count]) => [`{kind="${kind}"}`, count]),
      ),
    ]
    return buildInfoText('sidecar') + prometheusText('pod2iam_sidecar_', metrics)
  }
}

function add(counts: Map<string, number>, labels: string): void {
  counts.set(labels, (counts.get(labels) ?? 0) + 1)
}
