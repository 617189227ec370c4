import type { Clock } from '../../../common/clock.ts'
import { Problem, WEB_IDENTITY_HEADER } from '../../../common/protocol.ts'
import { type PodRecord, podName } from '../kubernetes/pod.ts'
import type { SigningKeys } from './keys.ts'
import { claimsVerifier } from './verify.ts'

/** A pod's second token, after it was checked that it belongs to the pod. A secret. */
export type WebIdentityToken = {
  readonly token: string
  /** Milliseconds. */
  readonly expiresAt: number
}

/**
 * Step 8: checks the second token of a pod that has passed the seven steps with its own: signature, issuer, audience and times, and that it is of
 * the same pod, by uid, on this node, with the same service account. STS sees only the subject, so this is the only place where one pod of a service
 * account is prevented from using the token of another.
 *
 * @param header value of `X-Pod2iam-Web-Identity`
 * @throws {Problem} `token-missing`, `token-invalid`, `token-not-for-this-node`
 */
export type CheckWebIdentity = (header: string | undefined, pod: PodRecord) => Promise<WebIdentityToken>

/** @param audience `--web-identity-audience` */
export function webIdentityChecker(
  keys: SigningKeys,
  audience: string,
  clock: Clock,
  nodeName: string,
): CheckWebIdentity {
  const verify = claimsVerifier(keys, audience, clock, 'the web identity token')
  return async (header, pod) => {
    const token = /^ *([\w.~+/=-]+) *$/.exec(header ?? '')?.[1]
    if (token === undefined)
      throw new Problem(
        'token-missing',
        `pod ${podName(pod)} gets its role by web identity: its sidecar must send the projected token for that in a header ${WEB_IDENTITY_HEADER}, beside its own`,
      )
    const { claims, expiresAt } = await verify(token)
    if (claims.nodeName !== undefined && claims.nodeName !== nodeName)
      throw new Problem(
        'token-not-for-this-node',
        `the web identity token belongs to a pod on node ${claims.nodeName}, this is the broker of node ${nodeName}`,
      )
    const isOfPod =
      claims.podUid === pod.uid && claims.podName === pod.name && claims.namespace === pod.namespace
    if (!isOfPod || claims.serviceAccount !== pod.serviceAccount)
      throw new Problem(
        'token-invalid',
        `the web identity token is not that of pod ${podName(pod)}, whose own token it came with`,
      )
    return { token, expiresAt }
  }
}
