import type { Clock } from '../../common/clock.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'

/** What a watch touches: the API server, time, the log; and when it shall end. */
export type WatchDependencies = {
  readonly kube: Pick<Kube, 'get' | 'stream'>
  readonly clock: Clock
  readonly log: Logger
  readonly signal: AbortSignal
}
