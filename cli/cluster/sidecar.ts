/** What a pod's sidecar reports on its health port, reached by port-forward. */
import { SIDECAR_HEALTH_PORT } from '../../common/addresses.ts'
import type { Cluster } from './cluster.ts'
import { getFrom, type PodAnswer, type PodName } from './exec.ts'

const HEALTH_MS = 8000

export type SidecarReadiness = {
  readonly ready: boolean
  readonly code: string
  /** Only sent to loopback, from which port-forward connects. */
  readonly detail: string | undefined
}

export async function sidecarReadiness(cluster: Cluster, pod: PodName): Promise<PodAnswer<SidecarReadiness>> {
  const answer = await getFrom(cluster, pod, SIDECAR_HEALTH_PORT, '/readyz', HEALTH_MS)
  if (answer.kind !== 'reached') return answer
  try {
    const { ready, code, detail } = JSON.parse(answer.value)
    if (typeof code === 'string')
      return {
        kind: 'reached',
        value: { ready: ready === true, code, detail: typeof detail === 'string' ? detail : undefined },
      }
  } catch {
    // Another program listens on the port.
  }
  return { kind: 'failed', detail: `what answers on its port ${SIDECAR_HEALTH_PORT} is not a sidecar` }
}

/**
 * Seconds until the sidecar's credentials expire; 0 if it has none.
 *
 * @returns undefined if it does not report them
 */
export async function credentialsLifetime(
  cluster: Cluster,
  pod: PodName,
): Promise<PodAnswer<number | undefined>> {
  const answer = await getFrom(cluster, pod, SIDECAR_HEALTH_PORT, '/metrics', HEALTH_MS)
  if (answer.kind !== 'reached') return answer
  const line = /^pod2iam_sidecar_credentials_remaining_seconds ([\d.e+]+)$/m.exec(answer.value)
  return { kind: 'reached', value: line?.[1] === undefined ? undefined : Number(line[1]) }
}
