import type { Reply } from './client.ts'

/**
 * What the broker knows about the pod itself: `leaves`, it is being deleted; `stays`; or `unknown`, because the broker does not
 * answer, does not know the pod, or is of a release without this route.
 */
export type PodState = 'stays' | 'leaves' | 'unknown'

/** Reads the answer to `GET /v1/pod` (`PodBody` of common/protocol.ts). */
export function podStateOf(reply: Reply): PodState {
  if (reply.kind === 'failure' || reply.status !== 200) return 'unknown'
  try {
    const body: unknown = JSON.parse(reply.body)
    if (typeof body !== 'object' || body === null || !('terminating' in body)) return 'unknown'
    return body.terminating === true ? 'leaves' : 'stays'
  } catch {
    return 'unknown'
  }
}
