/** Keeps the store's credentials fresh. No request of the application ever waits for this. */

import type { SteadyClock } from '../../common/clock.ts'
import type { Logger } from '../../common/log.ts'
import { imdsTime } from '../../common/protocol.ts'
import type { Outcome } from '../broker/outcome.ts'
import { type Loop, repeat } from '../repeat.ts'
import { refreshDelay, retryDelay } from './schedule.ts'
import type { CredentialStore } from './store.ts'

type RefresherDeps = {
  /** Asks the broker; never rejects. */
  readonly ask: () => Promise<Outcome>
  readonly store: CredentialStore
  readonly clock: SteadyClock
  readonly log: Logger
  /** From 0 to 1. */
  readonly random?: () => number
  /** Called with every outcome, for the metrics. */
  readonly onOutcome?: (outcome: Outcome) => void
}

/** Asks the broker at once, then at half of the lifetime; after failures with back-off. Logs every change of state once. */
export function startRefresher(deps: RefresherDeps): Loop {
  const { ask, store, clock, log, random = Math.random, onOutcome = () => {} } = deps
  let failures = 0
  let previous: Outcome | undefined
  let held = false

  const step = async () => {
    const outcome = await ask()
    const holding = store.view().kind === 'valid'
    if (held && !holding) log.error('the credentials have expired: requests are answered with 503', {})
    store.accept(outcome)
    onOutcome(outcome)
    logOutcome(log, outcome, { isNew: !sameOutcome(outcome, previous), holding })
    failures = outcome.kind === previous?.kind ? failures + 1 : 1
    previous = outcome
    held = store.view().kind === 'valid'
    return outcome.kind === 'credentials'
      ? refreshDelay(outcome.credentials, clock.now(), random())
      : retryDelay(outcome, failures, held, random())
  }
  return repeat(clock, step, (jump) =>
    log.warn('the wall clock jumped: credentials are refreshed now', {
      jumpSeconds: Math.round(jump / 1000),
    }),
  )
}

function sameOutcome(a: Outcome, b: Outcome | undefined): boolean {
  if (b === undefined || a.kind === 'credentials' || b.kind === 'credentials') return false
  return a.kind === b.kind && a.code === b.code
}

/** @param on `holding`: whether the store has valid credentials */
function logOutcome(log: Logger, outcome: Outcome, on: { isNew: boolean; holding: boolean }): void {
  const { isNew, holding } = on
  if (outcome.kind === 'credentials') {
    const { role, expiration } = outcome.credentials
    log.info(holding ? 'credentials refreshed' : 'credentials obtained', {
      role,
      expires: imdsTime(expiration),
    })
    return
  }
  const { kind, code, detail } = outcome
  if (!isNew) log.debug('no credentials', { kind, code, detail })
  else if (kind === 'none')
    log.info('this pod has no role: credentials are answered with 404', { code, detail })
  else if (kind === 'refused') log.error(refusalSentence(detail), { code, holding })
  else log.warn('no credentials from the broker, trying again', { code, detail, holding })
}

/** One sentence for the log and, as its last line, for `kubectl describe pod`. */
export function refusalSentence(detail: string): string {
  return `credentials refused: ${detail}`
}
