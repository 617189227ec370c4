import type { Readiness } from '../common/health.ts'

type ReplicaState = {
  readonly isDraining: boolean
  /** Why API servers cannot trust its certificate. */
  readonly untrusted: string | undefined
  readonly isServing: boolean
  /** End of the serving certificate's life, milliseconds since 1970; undefined while there is none. */
  readonly notAfter: number | undefined
  /** Why the API server does not answer. */
  readonly unreachable: string | undefined
  readonly knowsReplicas: boolean
}

/** Whether a replica can judge reviews now, so that it should get them. */
export function readinessOf(state: ReplicaState): Readiness {
  const { isDraining, untrusted, isServing, notAfter, unreachable, knowsReplicas } = state
  if (isDraining) return { ready: false, code: 'draining' }
  if (untrusted !== undefined) return { ready: false, code: 'certificate-not-ready', detail: untrusted }
  if (!isServing || notAfter === undefined) return { ready: false, code: 'starting' }
  if (notAfter < Date.now()) return { ready: false, code: 'certificate-expired' }
  if (unreachable !== undefined) return { ready: false, code: 'api-server-unreachable', detail: unreachable }
  // Before it knows the other replicas it could write what one of them refuses.
  if (!knowsReplicas) return { ready: false, code: 'looking-for-replicas' }
  return { ready: true, code: 'ready' }
}
