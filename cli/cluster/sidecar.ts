/** What a pod's sidecar says of itself at its health port, reached by port-forward. */
import { SIDECAR_HEALTH_PORT } from '../../common/addresses.ts'
import type { Cluster } from './cluster.ts'
import { getFrom, type Place, type Reached } from './exec.ts'

const HEALTH_MS = 8000

export type SidecarReadiness = {
  readonly ready: boolean
  readonly code: string
  /** Told to loopback, which port-forward is. */
  readonly detail: string | undefined
}

export async function sidecarReadiness(cluster: Cluster, pod: Place): Promise<Reached<SidecarReadiness>> {
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
    // Something else listens there.
  }
  return { kind: 'failed', detail: `what answers at its port ${SIDECAR_HEALTH_PORT} is no sidecar` }
}

/**
 * Seconds for which the sidecar's credentials live on; 0 without any.
 *
 * @returns undefined where it does not say
 */
export async function sidecarLife(cluster: Cluster, pod: Place): Promise<Reached<number | undefined>> {
  const answer = await getFrom(cluster, pod, SIDECAR_HEALTH_PORT, '/metrics', HEALTH_MS)
  if (answer.kind !== 'reached') return answer
  const line = /^pod2iam_sidecar_credentials_remaining_seconds ([\d.e+]+)$/m.exec(answer.value)
  return { kind: 'reached', value: line?.[1] === undefined ? undefined : Number(line[1]) }
}
