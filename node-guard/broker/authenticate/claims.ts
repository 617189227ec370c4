import type { JWTPayload } from 'jose'
import { Problem } from '../../../common/protocol.ts'

/** The identity in a projected service-account token. */
export type PodClaims = {
  readonly namespace: string
  readonly podName: string
  readonly podUid: string
  readonly serviceAccount: string
  /** Absent in tokens of Kubernetes before 1.30. */
  readonly nodeName: string | undefined
}

// Namespaces are DNS labels, service accounts and pod names are DNS subdomains: nothing else ever reaches a URL or a log.
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/
const UID = /^[\w-]{1,64}$/

/**
 * The `kubernetes.io` claims of a verified token. Pod name and uid are mandatory: `kubectl create token
 * --audience pod2iam` creates valid tokens without them, for anyone who may create tokens.
 *
 * @throws {Problem} `token-invalid`
 */
export function podClaims(payload: JWTPayload): PodClaims {
  const claims = object(payload['kubernetes.io'])
  const pod = object(claims.pod)
  const namespace = claims.namespace
  const serviceAccount = object(claims.serviceaccount).name
  if (!name(namespace) || !name(serviceAccount))
    throw invalid('it names no namespace and service account: it is not a service-account token')
  if (payload.sub !== `system:serviceaccount:${namespace}:${serviceAccount}`)
    throw invalid('its subject and its service account disagree')
  if (!name(pod.name) || typeof pod.uid !== 'string' || !UID.test(pod.uid))
    throw invalid('it is not bound to a pod; use the projected token of the pod')
  const node = object(claims.node).name
  if (node !== undefined && !name(node)) throw invalid('its node name is not a name')
  return { namespace, serviceAccount, podName: pod.name, podUid: pod.uid, nodeName: node }
}

function invalid(detail: string): Problem {
  return new Problem('token-invalid', `the token cannot be accepted: ${detail}`)
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

const name = (value: unknown): value is string => typeof value === 'string' && NAME.test(value)
