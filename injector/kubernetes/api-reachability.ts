import type { Kube } from '../../common/kube/client.ts'
import { kubeProblem } from './access.ts'

type Reachability = {
  /** Undefined while the API server answers, else why it does not. */
  readonly problem: () => string | undefined
  readonly stop: () => void
}

/** So many probes in a row must fail: one lost request must not take a replica out of the Service. */
const TOLERATED = 3

/**
 * Asks the API server for its version now and then: a replica that cannot look up namespaces must not be sent
 * reviews. Until the first answer it counts as unreachable.
 */
export function watchReachability(kube: Pick<Kube, 'get'>, intervalMs = 10_000): Reachability {
  let failures = TOLERATED
  let problem = 'it has not answered yet'
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  const probe = async () => {
    try {
      await kube.get('/version')
      failures = 0
    } catch (error) {
      failures++
      problem = kubeProblem(error)
    }
    // Soon again while it is away, so that a start does not wait for the interval.
    if (!stopped) timer = setTimeout(probe, failures === 0 ? intervalMs : Math.min(1000, intervalMs))
  }
  void probe()
  return {
    problem: () => (failures >= TOLERATED ? problem : undefined),
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
