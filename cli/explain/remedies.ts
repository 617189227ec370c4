/**
 * What to do about each code: a command where one does it. The codes are those of the injector's reviews, of the broker's refusals and of
 * the sidecar's readiness; what each of them says of the very pod comes from the program that says it.
 */
import { KEYS } from '../../common/keys.ts'

export type Subject = { readonly namespace: string; readonly pod: string; readonly roleKey: string }
type Remedy = (subject: Subject) => string

const recreate: Remedy = ({ namespace, pod }) =>
  `delete the pod, so that it is created anew: kubectl -n ${namespace} delete pod ${pod}`
const guardOfNode: Remedy = () => 'pod2iam status shows the node guard of each node and what is wrong with it'
const passes: Remedy = () => 'this passes by itself; where it stays for a minute, run pod2iam status'
/** A list that is written over by hand loses what stands in it. */
const allow: Remedy = ({ namespace }) =>
  `pod2iam audit --suggest prints the list that namespace ${namespace} needs; above all lists stands policy.permittedRoles`
const trust: Remedy = () => "mend the role's trust policy: pod2iam trust prints the statement that it needs"

const REMEDIES: Readonly<Record<string, Remedy>> = {
  'not-annotated': ({ roleKey }) => `name a role in the pod's template: annotation ${roleKey}`,
  'opted-out': () => `take annotation ${KEYS.inject} out of the pod's template`,
  'served-by-eks': ({ roleKey }) =>
    `nothing, where its SDK knows web identity; else annotation ${roleKey} in the pod's template`,
  'mirror-pod': () => 'run it as a DaemonSet instead of a file of the kubelet',
  'namespace-not-enabled': ({ namespace }) =>
    `kubectl label --overwrite namespace ${namespace} ${KEYS.injection}=enabled, then delete the pod`,
  'never-injected': () =>
    'move the workload to another namespace, or let the operator change injector.excludeNamespaces (injector.allowKubeSystem for kube-system)',
  'host-network': ({ roleKey }) => `take hostNetwork or annotation ${roleKey} out of the pod's template`,
  windows: () => 'use IRSA for Windows pods',
  fargate: () => 'use a pod execution role or IRSA on Fargate',
  'port-clash': () => 'let the container listen on another port than 9169 and 9170',
  'reserved-container': () => 'take the containers pod2iam-* out of the manifest',
  'reserved-volume': () => 'take the volumes pod2iam-* out of the manifest',
  'invalid-annotation': () => "mend the annotation in the pod's template",
  'invalid-role': ({ roleKey }) => `write a role name, path/name or full ARN into annotation ${roleKey}`,
  'role-not-allowed': allow,
  'pod-too-large': () => 'make the pod smaller, or split it into several',
  'pod-resources-too-small': () => 'raise spec.resources of the pod',
  'malformed-pod': () => 'mend the manifest',
  'injection-missing': recreate,
  'identity-changed': recreate,
  'pod-not-injected': recreate,
  'role-not-set': ({ roleKey, namespace }) =>
    `name a role: annotation ${roleKey} of the pod's template, or ${KEYS.defaultRole} of namespace ${namespace}`,
  'sts-denied': trust,
  'sts-invalid': () => 'change what STS names: the session duration, the external id or the role',
  'sts-throttled': passes,
  'sts-unavailable': () => "look at the network between the nodes and STS; the broker's log has what it saw",
  'node-credentials-unavailable': () => "look at the node's instance profile and at IMDS of the node",
  'node-unguarded': guardOfNode,
  'broker-unreachable': () =>
    'pod2iam status shows the broker of each node; a NetworkPolicy of the pod must let it reach 169.254.170.24:9171',
  'broker-answer-invalid': guardOfNode,
  'protocol-not-spoken': passes,
  'peer-address-mismatch': () =>
    'something between the pod and its node rewrites source addresses: look at masquerading of the CNI',
  'token-not-for-this-node': recreate,
  'token-unreadable': () => 'kubectl describe pod shows what is wrong with volume pod2iam-token',
  'block-pending': () =>
    'pod2iam status shows whether the node refuses the metadata service; kube2iam or kiam beside it: pod2iam check',
  'self-test-pending': () =>
    'look for a mesh or a program in the pod that takes 169.254.169.254, or set pod2iam.dev/redirect: env',
  'credentials-expired': () => "the sidecar's log has what the broker answered",
  'pod-address-unknown': passes,
  'pod-unknown': passes,
  busy: passes,
}

/** @param code of an injector's review, a broker's refusal or a sidecar's readiness */
export function remedyFor(code: string, subject: Subject): string {
  const remedy = REMEDIES[code] ?? passes
  return remedy(subject)
}
