/** Faults on demand. They apply only to the TCP listeners, because the test process uses the unix socket. */

/** The requests that a fault applies to; all of them when empty. */
type FaultMatch = {
  /** Prefix of the path, e.g. `/openid/v1/jwks` or `/api/v1/pods`. */
  readonly path?: string
  /** RBAC verb: `get`, `list`, `watch`, `create`… */
  readonly verb?: string
}

type Fault =
  /** Never answer. */
  | { readonly kind: 'hang' }
  /** Answer 200 with this body, e.g. garbage at the JWKS path. */
  | { readonly kind: 'body'; readonly body: string }

export type FaultRule = Fault & { readonly match?: FaultMatch }

type Facts = { readonly path: string; readonly verb: string }

export class Faults {
  #rules: FaultRule[] = []

  /** Until cleared. */
  add(rule: FaultRule): void {
    this.#rules.push(rule)
  }

  clear(): void {
    this.#rules = []
  }

  /** The fault that applies to this request, if any. */
  hit(facts: Facts): FaultRule | undefined {
    return this.#rules.find(
      ({ match: { path = '', verb } = {} }) =>
        facts.path.startsWith(path) && (verb === undefined || verb === facts.verb),
    )
  }
}
