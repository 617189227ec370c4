/**
 * One line for each exchange: requests for credentials at info, refusals at warn with reason and remedy, everything else
 * at debug. Never a query, a header or a body.
 */

import type { SteadyClock } from '../../common/clock.ts'
import type { Logger } from '../../common/log.ts'
import type { Exchange } from '../imds/app.ts'
import { REFUSALS, type Refusal } from './refusals.ts'
import { asksForCredentials } from './routes.ts'

/** Longest path in a line. */
const MAX_PATH = 300

/** How long a reason is suppressed after its line, milliseconds: a client that is refused asks again and again. */
const QUIET = 60_000

type Logged = { readonly at: number; suppressed: number }

/** Logs exchanges; of refusals for the same reason at most one a minute at warn, which counts those since the one before. */
export function exchangeLog(log: Logger, clock: SteadyClock): (exchange: Exchange) => void {
  const logged = new Map<Refusal, Logged>()

  /** How many were suppressed since the last line at warn; undefined where this one is suppressed, too. */
  const due = (refusal: Refusal): number | undefined => {
    const [last, now] = [logged.get(refusal), clock.monotonic()]
    if (last !== undefined && now - last.at < QUIET) {
      last.suppressed++
      return undefined
    }
    logged.set(refusal, { at: now, suppressed: 0 })
    return last?.suppressed ?? 0
  }

  return ({ method, path, status, durationMs, imds, refusal, parser }) => {
    const fields = {
      method,
      path: path?.slice(0, MAX_PATH) ?? '(malformed)',
      status,
      durationMs: durationMs === undefined ? undefined : Math.round(durationMs * 1000) / 1000,
      imds,
      ...(refusal && { reason: refusal }),
      ...(parser && { parser }),
    }
    const suppressed = refusal && due(refusal)
    if (refusal !== undefined && suppressed !== undefined)
      log.warn('request refused', {
        ...fields,
        remedy: REFUSALS[refusal],
        ...(suppressed > 0 && { suppressed }),
      })
    else log[asksForCredentials(path) ? 'info' : 'debug']('request', fields)
  }
}
