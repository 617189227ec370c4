import { systemClock } from '../../../common/clock.ts'
import type { Logger } from '../../../common/log.ts'
import type { Backend } from '../backend/backend.ts'
import { watch } from '../process/watch.ts'
import type { Cause } from './block.ts'
import type { Follow } from './choice.ts'

/** After this time without one, the end of a monitor is logged as a warning again. */
const MONITOR_WARNING_MS = 600_000

/** Everything that detects that the guard's rules may no longer be as they were loaded. */
export function createRuleChanges(log: Logger, now = systemClock.monotonic) {
  let check: (cause: Cause) => unknown = () => {}
  let stop = () => {}
  let warnedAt = Number.NEGATIVE_INFINITY
  const report = (cause: Cause) => void check(cause)
  const logEnd = (detail: string) => {
    // It ends when more notifications come at once than a socket holds: on a large node at each full sync of kube-proxy.
    const level = now() - warnedAt < MONITOR_WARNING_MS ? 'debug' : 'warn'
    log[level]('monitor ended', { detail })
    warnedAt = now()
  }
  /** Follows one backend at a time: the one that is being tried, or the chosen one. */
  const follow: Follow = async (backend, isChosen) => {
    stop()
    const monitor = await backend.monitor()
    stop =
      monitor === undefined
        ? poll(backend.polling, report)
        : watch(monitor, {
            event: () => report('event'),
            missed: () => report('monitor'),
            // While a backend is only being tried, its own failure says more.
            ended: (detail) => isChosen() && logEnd(detail),
          })
    return stop
  }
  return {
    follow,
    /** For other parts that notice a change. */
    report,
    /** Sets what is called for each change. Until a backend is followed there are none. */
    subscribe: (listener: typeof check) => {
      check = listener
    },
    stop: () => stop(),
  }
}

/** Polls where the backend says how; returns what stops it. */
function poll(polling: Backend['polling'], report: (cause: Cause) => void): () => void {
  if (polling === undefined) return () => {}
  const { areRulesGone, checkEvery, readEvery } = polling
  const checks = setInterval(() => areRulesGone() && report('event'), checkEvery)
  const readings = setInterval(() => report('poll'), readEvery)
  return () => {
    clearInterval(checks)
    clearInterval(readings)
  }
}
