/** Faults on demand. They apply to the TCP listeners only: the test process keeps its unix socket. */

/** Which requests a fault hits; all of them when empty. */
export type FaultMatch = {
  /** Prefix of the path, e.g. `/openid/v1/jwks` or `/api/v1/pods`. */
  readonly path?: string
  /** RBAC verb: `get`, `list`, `watch`, `create`… */
  readonly verb?: string
  /** User name as in `calls()`. Known only after authentication: not for `refuse`. */
  readonly user?: string
}

export type Fault =
  /** Answer with a Status of this code (401, 429, 500, 503…). */
  | { readonly kind: 'status'; readonly code: number; readonly retryAfterSeconds?: number }
  /** Never answer. */
  | { readonly kind: 'hang' }
  /** Close the connection without an answer. */
  | { readonly kind: 'reset' }
  /** Answer after this time. */
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** Answer 200 (or `code`) with this body, e.g. garbage at the JWKS path. */
  | { readonly kind: 'body'; readonly body: string; readonly code?: number; readonly contentType?: string }
  /** A list or watch with a resourceVersion is answered HTTP 410 at once (older servers and proxies do). */
  | { readonly kind: 'gone' }

export type FaultRule = Fault & {
  readonly match?: FaultMatch
  readonly count?: number
  readonly seconds?: number
}

type Facts = { readonly path: string; readonly verb: string; readonly user: string | undefined }

export class Faults {
  #rules: { rule: FaultRule; left: number; until: number }[] = []
  readonly #now: () => number

  /** @param now a monotonic clock, milliseconds */
  constructor(now: () => number) {
    this.#now = now
  }

  /** `count` requests, or for `seconds`, or until cleared. */
  add(rule: FaultRule): void {
    this.#rules.push({
      rule,
      left: rule.count ?? Number.POSITIVE_INFINITY,
      until: rule.seconds === undefined ? Number.POSITIVE_INFINITY : this.#now() + rule.seconds * 1000,
    })
  }

  clear(): void {
    this.#rules = []
  }

  /** The fault that hits this request, if any; counts it. Rules on users wait until the user is known. */
  hit(facts: Facts): FaultRule | undefined {
    this.#rules = this.#rules.filter(({ left, until }) => left > 0 && until > this.#now())
    const found = this.#rules.find(({ rule: { match = {} } }) => {
      if ((match.user !== undefined) !== (facts.user !== undefined)) return false
      return (
        (match.user === undefined || match.user === facts.user) &&
        (match.verb === undefined || match.verb === facts.verb) &&
        (match.path === undefined || facts.path.startsWith(match.path))
      )
    })
    if (found !== undefined) found.left--
    return found?.rule
  }
}
