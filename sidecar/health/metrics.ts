/** Metrics as Prometheus text, written by hand: prom-client would cost 1.5 MiB in every pod. No role, no ARN. */
import { buildInfoText } from '../../common/build-info.ts'
import { LINES_LOST_HELP } from '../../common/log-metric.ts'
import { linesLost } from '../../common/log-output.ts'
import { type Metric, prometheusText } from '../../common/prometheus-text.ts'
import { VERSION } from '../../common/version.ts'
import type { Outcome } from '../broker/outcome.ts'
import type { Exchange } from '../imds/app.ts'
import { routeOf } from './routes.ts'

export type MetricsState = {
  /** Life left of the credentials, milliseconds. */
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

  /** Counts what came of asking the broker; `now` by the monotonic clock, milliseconds. */
  refresh(outcome: Outcome, now: number): void {
    add(this.#refreshes, `{outcome="${outcome.kind === 'credentials' ? 'success' : outcome.code}"}`)
    if (outcome.kind === 'credentials') this.#lastSuccess = now
  }

  /** The exposition text. */
  text({ remaining, ready, now }: MetricsState): string {
    const age = this.#lastSuccess === undefined ? [] : [['', (now - this.#lastSuccess) / 1000] as const]
    const metrics: Metric[] = [
      {
        name: 'build_info',
        type: 'gauge',
        help: 'Version of this build.',
        samples: [[`{version="${VERSION}"}`, 1]],
      },
      { name: 'ready', type: 'gauge', help: 'Whether /readyz answers 200.', samples: [['', ready ? 1 : 0]] },
      {
        name: 'requests_total',
        type: 'counter',
        help: 'Metadata requests, those that were refused with the reason.',
        samples: this.#requests,
      },
      {
        name: 'refreshes_total',
        type: 'counter',
        help: 'Requests to the broker for credentials, by outcome.',
        samples: this.#refreshes,
      },
      {
        name: 'credentials_remaining_seconds',
        type: 'gauge',
        help: 'Life left of the credentials; 0 without.',
        samples: [['', remaining / 1000]],
      },
      {
        name: 'last_success_age_seconds',
        type: 'gauge',
        help: 'Time since the broker last gave credentials.',
        samples: age,
      },
      {
        name: 'log_lines_lost_total',
        type: 'counter',
        help: LINES_LOST_HELP,
        samples: Object.entries(linesLost()).map(([kind, count]) => [`{kind="${kind}"}`, count]),
      },
    ]
    return buildInfoText('sidecar') + prometheusText('pod2iam_sidecar_', metrics)
  }
}

function add(counts: Map<string, number>, labels: string): void {
  counts.set(labels, (counts.get(labels) ?? 0) + 1)
}
