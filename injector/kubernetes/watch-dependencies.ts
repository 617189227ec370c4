import type { Clock } from '../../common/clock.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'

/** What a watch needs: the API server, a clock, a log, and a signal that ends it. */
export type WatchDependencies = {
  readonly kube: Pick<Kube, 'get' | 'stream'>
  readonly clock: Clock
  readonly log: Logger
  readonly signal: AbortSignal
}
