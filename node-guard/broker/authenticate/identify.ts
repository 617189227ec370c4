import { annotatedIdentity, sameIdentity } from '../../../common/identity.ts'
import { KEYS } from '../../../common/keys.ts'
import { Problem } from '../../../common/protocol.ts'
import { hasEnded, isOptedOut, isTooLong, MAX_TEXT, type PodRecord, podName } from '../kubernetes/pod.ts'
import type { PodClaims } from './claims.ts'

/**
 * Step 2, the part that needs no pod: a token bound to another node is of no use here.
 *
 * @throws {Problem} `token-not-for-this-node`
 */
export function checkNode(claims: PodClaims, nodeName: string): void {
  if (claims.nodeName !== undefined && claims.nodeName !== nodeName)
    throw new Problem(
      'token-not-for-this-node',
      `the token belongs to a pod on node ${claims.nodeName}, this is the broker of node ${nodeName}`,
    )
}

/**
 * Step 3: the pod with that uid may be served.
 *
 * @throws {Problem} `pod-unknown`, `token-not-for-this-node`, `pod-not-injected`, `token-invalid`
 */
export function checkPod(pod: PodRecord, claims: PodClaims, nodeName: string): void {
  const name = podName(pod)
  if (pod.nodeName !== nodeName)
    throw new Problem('token-not-for-this-node', `pod ${name} does not run on node ${nodeName}`)
  if (pod.namespace !== claims.namespace || pod.name !== claims.podName)
    throw new Problem('token-invalid', 'the token’s pod name and pod uid belong to different pods')
  if (hasEnded(pod)) throw new Problem('pod-unknown', `pod ${name} has ended (${pod.phase})`)
  if (pod.serviceAccount !== claims.serviceAccount)
    throw new Problem(
      'token-invalid',
      `the token’s service account is not the one pod ${name} runs as (${pod.serviceAccount})`,
    )
  if (pod.hostNetwork)
    throw new Problem(
      'pod-not-injected',
      `pod ${name} uses the host’s network: it shares the node’s addresses and gets no credentials`,
    )
  if (isOptedOut(pod))
    throw new Problem(
      'pod-not-injected',
      `annotation ${KEYS.inject} of pod ${name} opts it out of injection, so its sidecar is not from the injector: remove the ` +
        'annotation from the pod’s template, so that it is created again with a sidecar',
    )
  if (pod.identity === undefined)
    throw new Problem(
      'pod-not-injected',
      `pod ${name} does not carry the pod2iam sidecar: delete it, so that it is created again through the injector`,
    )
}

/**
 * Step 4: the annotations still match what the injector wrote into the sidecar's env, which cannot be changed.
 * Annotations of a running pod can be changed, also through `pods/status` and `pods/binding`.
 *
 * @throws {Problem} `identity-changed`
 */
export function checkIdentity(pod: PodRecord, roleKey: string): void {
  const stated = annotatedIdentity(pod.annotations, roleKey, pod.identity)
  if (pod.identity && sameIdentity(pod.identity, stated)) return
  const parts = [
    [roleKey, pod.identity?.role, stated.role],
    [KEYS.externalId, pod.identity?.externalId, stated.externalId],
    [KEYS.sessionName, pod.identity?.sessionName, stated.sessionName],
    [KEYS.sessionPolicyArns, pod.identity?.sessionPolicies, stated.sessionPolicies],
  ] as const
  const long = parts.find(([, , now]) => isTooLong(now))
  if (long)
    throw new Problem(
      'identity-changed',
      `annotation ${long[0]} of pod ${podName(pod)} is longer than ${MAX_TEXT} characters, which is not compared with what it was: ` +
        'shorten it in the pod’s template',
    )
  // No key differs, but the source does: the metadata-only annotation was changed, or the service account's role was annotated.
  const keys = parts.filter(([, then, now]) => then !== now).map(([key]) => key)
  if (keys.length === 0 && stated.source === 'annotation') keys.push(roleKey)
  throw new Problem(
    'identity-changed',
    `annotation ${keys.join(' and ') || KEYS.inject} of pod ${podName(pod)} was changed after the pod was created, which does not ` +
      'change who it is: restore it, or delete the pod and create it with the other value',
  )
}
