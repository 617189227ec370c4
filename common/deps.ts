import type { Clock } from './clock.ts'
import type { Kube } from './kube/client.ts'
import type { Logger } from './log.ts'

/**
 * The outside world as the parts of a process use it, passed in so that tests can replace it. A part takes only what it needs.
 *
 * @typeParam Calls what it calls of the API server's client
 */
export type Deps<Calls extends keyof Kube = keyof Kube> = {
  readonly kube: Pick<Kube, Calls>
  readonly clock: Clock
  readonly log: Logger
  /** Aborts when the process stops. */
  readonly signal: AbortSignal
}
