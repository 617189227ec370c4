/** Counts of STS calls by role, session and outcome. */
import type { StsCall, StsCounts } from './model.ts'

export class CallCounts {
  readonly #byRole = new Map<string, Map<string, number>>()
  readonly #bySession = new Map<string, Map<string, number>>()
  readonly #byOutcome = new Map<string, number>()
  #requests = 0
  #assumeRole = 0
  #inFlight = 0
  #peakInFlight = 0

  started(): void {
    this.#peakInFlight = Math.max(this.#peakInFlight, ++this.#inFlight)
  }

  finished(call: StsCall): void {
    this.#inFlight--
    this.#requests++
    if (!call.action.startsWith('AssumeRole')) return
    this.#assumeRole++
    bump(this.#byOutcome, call.outcome)
    if (call.role !== null) bump(inner(this.#byRole, call.role), call.outcome)
    if (call.session !== null) bump(inner(this.#bySession, call.session), call.outcome)
  }

  counts(): StsCounts {
    return {
      requests: this.#requests,
      assumeRole: this.#assumeRole,
      peakInFlight: this.#peakInFlight,
      byOutcome: Object.fromEntries(this.#byOutcome),
      byRole: nested(this.#byRole),
      bySession: nested(this.#bySession),
    }
  }

  clear(): void {
    this.#requests = 0
    this.#assumeRole = 0
    this.#peakInFlight = this.#inFlight
    for (const map of [this.#byRole, this.#bySession, this.#byOutcome]) map.clear()
  }
}

function bump(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1)
}

function inner(map: Map<string, Map<string, number>>, key: string): Map<string, number> {
  const found = map.get(key) ?? new Map<string, number>()
  map.set(key, found)
  return found
}

function nested(map: Map<string, Map<string, number>>): Record<string, Record<string, number>> {
  return Object.fromEntries([...map].map(([key, value]) => [key, Object.fromEntries(value)]))
}
