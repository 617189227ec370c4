/**
 * Why a review ended as it did, and what the Events on a pod say: a fixed set of codes (metrics, logs, audit annotations) and the message that a
 * person gets for each: what, why and what to do. Modelled on linkerd2's `pkg/inject/report.go`.
 */
import { SIDECAR_HEALTH_PORT, SIDECAR_PORT } from '../common/addresses.ts'
import { GATE_CONTAINER, KEYS, SIDECAR_CONTAINER } from '../common/keys.ts'

/** What the sentences contain. `detail` is a clause or sentence from the check that decided. */
type Facts = {
  readonly roleKey: string
  readonly namespace: string
  readonly detail: string
  /** Whether it is the pod's service account that asks. */
  readonly byAccount?: boolean
}

const remedy = ({ roleKey, byAccount }: Facts) =>
  byAccount
    ? `set ${KEYS.inject}: "false" on the pod to opt out: its service account asks for a role`
    : `remove ${roleKey} from the pod, or set ${KEYS.inject}: "false" to opt out`

export const REASONS = {
  injected: () => 'the sidecar was added, and its gate if the pod starts in two stages',
  'already-injected': () => 'the pod already has its sidecar, and its gate if it starts in two stages',
  'not-annotated': ({ roleKey, detail }: Facts) =>
    `the pod has no annotation ${roleKey}${detail === '' ? '' : `, and ${detail} names no role`}`,
  'served-by-eks': ({ detail }: Facts) =>
    `the pod is left alone: ${detail} names its role, and the EKS pod identity webhook has already given it that role (volume aws-iam-token); ` +
    'if its SDK does not support web identity, annotate the pod itself',
  'namespace-not-enabled': ({ roleKey, namespace }: Facts) =>
    `the pod asks for an IAM role (${roleKey}), but namespace ${namespace} is not opted in, so it gets no credentials: ` +
    `kubectl label namespace ${namespace} ${KEYS.injection}=enabled`,
  'opted-out': () => `annotation ${KEYS.inject} is "false"`,
  'mirror-pod': () => 'the kubelet created this static pod from a file, so nothing can be added to it',
  'not-a-pod-creation': () =>
    'only the creation of pods is changed; check the rules of the webhook configuration',
  'not-validated': () => 'this kind of object is not known; check the rules of the webhook configuration',
  unchanged: () => "the pod's identity has not changed",
  template: () => 'pod templates are never refused; they only get warnings',
  'warned-only': () => 'this kind of object is never refused; it only gets warnings',
  'not-injected': ({ detail }: Facts) =>
    `the pod asks for an IAM role, but ${detail}: the injector did not run, or another webhook undid its work; ` +
    'check the order of the mutating webhook configurations',
  'injection-missing': ({ roleKey, namespace }: Facts) =>
    `the pod asks for an IAM role (${roleKey}) and has no ${SIDECAR_CONTAINER}, so it gets no credentials: it was created before ` +
    `namespace ${namespace} was opted in, or without the injector's webhook; delete it, so that it is created again`,
  'never-injected': ({ roleKey, namespace }: Facts) =>
    `the pod asks for an IAM role (${roleKey}) and gets no credentials: the injector ignores namespace ${namespace}, regardless of its ` +
    'labels; ask the operator of pod2iam to change that, or move the pod to another namespace',
  'gate-waiting': ({ detail }: Facts) =>
    `${GATE_CONTAINER} has been waiting for more than 30 seconds, and the pod's own containers start only after it; ${detail}`,
  'start-waiting': ({ detail }: Facts) =>
    `${SIDECAR_CONTAINER} has been starting for more than 30 seconds, and the pod's own containers start only after it; ${detail}`,
  'identity-changed': ({ detail }: Facts) =>
    `${detail} of a pod cannot be changed, because it keeps the credentials it was created for: delete the pod and create it again`,
  'host-network': (facts: Facts) =>
    `a pod on the host network cannot have its own IAM role, because its traffic is the node's: remove hostNetwork, or ${remedy(facts)}`,
  windows: (facts: Facts) => `Windows pods cannot run the Linux sidecar: ${remedy(facts)}`,
  fargate: (facts: Facts) =>
    `Fargate runs neither the node guard nor the pod's gate: use an EKS pod execution role or IRSA there, and ${remedy(facts)}`,
  'port-clash': ({ detail }: Facts) =>
    `${detail}, which the sidecar needs (${SIDECAR_PORT} and ${SIDECAR_HEALTH_PORT}): let the container use another port`,
  'reserved-container': ({ detail }: Facts) =>
    `${detail}; ${SIDECAR_CONTAINER} and ${GATE_CONTAINER} are added by the injector: remove them from the manifest, or, if a tool ` +
    'replaces their images with copies in another registry, ask the operator of pod2iam to add it to injector.trustedRegistries',
  'reserved-volume': ({ detail }: Facts) =>
    `${detail}; volumes pod2iam-* are added by the injector for its sidecar only: remove it from the manifest`,
  'invalid-annotation': ({ detail }: Facts) => detail,
  'invalid-role': ({ detail }: Facts) => detail,
  'role-not-allowed': ({ detail }: Facts) => detail,
  'pod-too-large': ({ detail }: Facts) =>
    `the pod ${detail}: no pod needs that many, and the injector does not process larger ones; make it smaller, or split it into several`,
  'pod-resources-too-small': (facts: Facts) => `${facts.detail}, or ${remedy(facts)}`,
  'malformed-pod': ({ detail }: Facts) => `the pod in the admission review ${detail}`,
  'namespace-lookup-failed': ({ namespace, detail }: Facts) =>
    `namespace ${namespace} could not be read from the API server, so the roles that it may use are not known (${detail}): try again, ` +
    'and check that the injector can reach the API server and may get namespaces',
  'service-account-lookup-failed': ({ namespace, detail }: Facts) =>
    `the pod's service account in namespace ${namespace} could not be read from the API server, so the roles that it may use are not known ` +
    `(${detail}): try again, and check that it exists, and that the injector may get serviceaccounts (verb get, resource serviceaccounts, ` +
    'which the chart grants with policy.serviceAccountRoles=true)',
  'internal-error': () => 'the injector failed on this review; its log has the reason under the same uid',
} as const satisfies Record<string, (facts: Facts) => string>

export type Reason = keyof typeof REASONS

/** The sentence of a reason. */
export function sentence(reason: Reason, facts: Facts): string {
  return REASONS[reason](facts)
}
