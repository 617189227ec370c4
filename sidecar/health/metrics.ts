/** Metrics as Prometheus text, written by hand: prom-client would cost 1.5 MiB in every pod. No role, no ARN. */
import { buildInfoText } from '../../common/build-info.ts'
import { LINES_LOST_HELP } from '../../common/log-metric.ts'
import { linesLost } from '../../common/log-output.ts'
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
    add(this.#requests, `route="${routeOf(path)}",status="${status ?? 'none'}"${reason}`)
  }

  /** Counts what came of asking the broker; `now` by the monotonic clock, milliseconds. */
  refresh(outcome: Outcome, now: number): void {
    add(this.#refreshes, `outcome="${outcome.kind === 'credentials' ? 'success' : outcome.code}"`)
    if (outcome.kind === 'credentials') this.#lastSuccess = now
  }

  /** The exposition text. */
  text({ remaining, ready, now }: MetricsState): string {
    const age = this.#lastSuccess === undefined ? [] : [['', (now - this.#lastSuccess) / 1000] as const]
    return [
      buildInfoText('sidecar'),
      family('build_info', 'gauge', 'Version of this build.', [[`version="${VERSION}"`, 1]]),
      family('ready', 'gauge', 'Whether /readyz answers 200.', [['', ready ? 1 : 0]]),
      family(
        'requests_total',
        'counter',
        'Metadata requests, those that were refused with the reason.',
        this.#requests,
      ),
      family(
        'refreshes_total',
        'counter',
        'Requests to the broker for credentials, by outcome.',
        this.#refreshes,
      ),
      family('credentials_remaining_seconds', 'gauge', 'Life left of the credentials; 0 without.', [
        ['', remaining / 1000],
      ]),
      family('last_success_age_seconds', 'gauge', 'Time since the broker last gave credentials.', age),
      family(
        'log_lines_lost_total',
        'counter',
        LINES_LOST_HELP,
        Object.entries(linesLost()).map(([kind, count]) => [`kind="${kind}"`, count]),
      ),
    ].join('')
  }
}

function add(counts: Map<string, number>, labels: string): void {
  counts.set(labels, (counts.get(labels) ?? 0) + 1)
}

function family(
  name: string,
  type: string,
  help: string,
  samples: Iterable<readonly [string, number]>,
): string {
  const full = `pod2iam_sidecar_${name}`
  const lines = [...samples].map(
    ([labels, value]) => `${full}${labels === '' ? '' : `{${labels}}`} ${value}\n`,
  )
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join('')}`
}
