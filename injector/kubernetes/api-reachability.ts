import type { Kube } from '../../common/kube/client.ts'
import { kubeProblem } from './access.ts'

/** This many consecutive probes must fail: one lost request must not remove a replica from the Service. */
const TOLERATED = 3

/**
 * Periodically asks the API server for its version: a replica that cannot look up namespaces must not get reviews. Until the first
 * answer the API server counts as unreachable.
 */
export function watchReachability(kube: Pick<Kube, 'get'>, intervalMs = 10_000) {
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
    // Sooner while it does not answer, so that a start does not wait for the whole interval.
    if (!stopped) timer = setTimeout(probe, failures === 0 ? intervalMs : Math.min(1000, intervalMs))
  }
  void probe()
  return {
    /** Undefined while the API server answers, otherwise why it does not. */
    problem: () => (failures >= TOLERATED ? problem : undefined),
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
