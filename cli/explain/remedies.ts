/**
 * What to do about each code: a command if there is one. The codes are those of the injector's reviews, of the broker's refusals and of
 * the sidecar's readiness; the details about the pod come from the program that reports the code.
 */
import { KEYS } from '../../common/keys.ts'

export type Subject = { readonly namespace: string; readonly pod: string; readonly roleKey: string }
type Remedy = (subject: Subject) => string

const recreate: Remedy = ({ namespace, pod }) =>
  `delete the pod, so that it is created again: kubectl -n ${namespace} delete pod ${pod}`
const guardOfNode: Remedy = () => 'pod2iam status shows the node guard of each node and what is wrong with it'
const passes: Remedy = () => 'wait for a minute; if it persists, run pod2iam status'
/** No command that overwrites the list, because that would lose its current entries. */
const allow: Remedy = ({ namespace }) =>
  `pod2iam audit --suggest prints the list that namespace ${namespace} needs; policy.permittedRoles limits all lists`
const trust: Remedy = () =>
  "correct the role's trust policy: pod2iam trust prints the statement that it needs"

const REMEDIES: Readonly<Record<string, Remedy>> = {
  'not-annotated': ({ roleKey }) => `name a role in the pod's template: annotation ${roleKey}`,
  'opted-out': () => `remove annotation ${KEYS.inject} from the pod's template`,
  'served-by-eks': ({ roleKey }) =>
    `nothing, if its SDK supports web identity; otherwise set annotation ${roleKey} in the pod's template`,
  'mirror-pod': () => 'run it as a DaemonSet instead of a static pod',
  'namespace-not-enabled': ({ namespace }) =>
    `kubectl label --overwrite namespace ${namespace} ${KEYS.injection}=enabled, then delete the pod`,
  'never-injected': () =>
    'move the workload to another namespace, or ask the operator to change injector.excludeNamespaces (injector.allowKubeSystem for kube-system)',
  'host-network': ({ roleKey }) => `remove hostNetwork or annotation ${roleKey} from the pod's template`,
  windows: () => 'use IRSA for Windows pods',
  fargate: () => 'use a pod execution role or IRSA on Fargate',
  'port-clash': () => 'let the container listen on a port other than 9169 and 9170',
  'reserved-container': () => 'remove the containers pod2iam-* from the manifest',
  'reserved-volume': () => 'remove the volumes pod2iam-* from the manifest',
  'invalid-annotation': () => "correct the annotation in the pod's template",
  'invalid-role': ({ roleKey }) => `write a role name, path/name or full ARN into annotation ${roleKey}`,
  'role-not-allowed': allow,
  'pod-too-large': () => 'make the pod smaller, or split it into several',
  'pod-resources-too-small': () => 'raise spec.resources of the pod',
  'malformed-pod': () => 'correct the manifest',
  'injection-missing': recreate,
  'identity-changed': recreate,
  'pod-not-injected': recreate,
  'role-not-set': ({ roleKey, namespace }) =>
    `name a role: annotation ${roleKey} of the pod's template, or ${KEYS.defaultRole} of namespace ${namespace}`,
  'sts-denied': trust,
  'sts-invalid': () => 'change what STS names: the session duration, the external id or the role',
  'sts-unavailable': () => "look at the network between the nodes and STS; the broker's log has what it saw",
  'node-credentials-unavailable': () => "look at the node's instance profile and at IMDS of the node",
  'node-unguarded': guardOfNode,
  'broker-unreachable': () =>
    'pod2iam status shows the broker of each node; a NetworkPolicy of the pod must let it reach 169.254.170.24:9171',
  'broker-answer-invalid': guardOfNode,
  'protocol-not-spoken': () =>
    'look for a mesh or a program in the pod that takes 169.254.170.24:9171; after an upgrade delete the pod',
  'peer-address-mismatch': () =>
    'something between the pod and its node rewrites source addresses: look at masquerading of the CNI',
  'token-missing': () => 'look for a mesh or a program in the pod that takes 169.254.170.24:9171',
  'token-invalid': recreate,
  'token-not-for-this-node': recreate,
  'token-unreadable': () => 'kubectl describe pod shows what is wrong with volume pod2iam-token',
  'container-token-pending': () =>
    'kubectl describe pod shows what is wrong with volume pod2iam-container-token',
  'block-pending': () =>
    'pod2iam status shows whether the node blocks the metadata service; pod2iam check shows whether kube2iam or kiam still runs',
  'self-test-pending': () =>
    'look for a mesh or a program in the pod that takes 169.254.169.254, or set pod2iam.dev/redirect: env',
  'credentials-expired': () => "the sidecar's log has what the broker answered",
  'pod-address-unknown': () => 'look at the kubelet of its node and at the clocks of node and API server',
  'pod-unknown': recreate,
  busy: () => "this passes by itself; where it stays for a minute, the broker's log has what it waits for",
}

/** @param code of a review by the injector, a refusal by the broker or the readiness of a sidecar */
export function remedyFor(code: string, subject: Subject): string {
  const remedy = REMEDIES[code] ?? passes
  return remedy(subject)
}
