import { randomUUID } from 'node:crypto'
import type { V1Pod } from '@kubernetes/client-node'
import { type CredentialSource, sourceOfEnv } from '../../../common/credential-source.ts'
import { isPodUid } from '../../../common/host-pods.ts'
import { identityOfEnv, type PodIdentity } from '../../../common/identity.ts'
import { KEYS, SIDECAR_CONTAINER } from '../../../common/keys.ts'

/** What is stored about a pod: only what decisions need. */
export type PodRecord = {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
  /** Empty while the pod is bound to no node. */
  readonly nodeName: string
  readonly podIPs: readonly string[]
  /** The node's, as the kubelet reports them. */
  readonly hostIPs: readonly string[]
  readonly phase: string
  readonly hostNetwork: boolean
  /** As in the name of its cgroup: for a static pod the uid of its manifest, not that of its mirror in the API server. */
  readonly cgroupUid: string
  /** Whether it is being deleted; it is served until it has ended. */
  readonly terminating: boolean
  /** Milliseconds. */
  readonly createdAt: number
  /** Only those that say who the pod is. */
  readonly annotations: Readonly<Record<string, string>>
  /** What the injector wrote into our native sidecar's env; undefined if the pod does not carry it, or cannot. */
  readonly identity: PodIdentity | undefined
  /** What the injector froze there, too; undefined if this release does not know it. */
  readonly credentialSource: CredentialSource | undefined
}

/**
 * Characters kept of a text that says who a pod is: AWS takes role ARNs of 2048, external ids of 1224 and
 * policy ARNs of 2048 in all. Tenants write these
 * texts: kept whole, they could fill the broker's memory.
 */
export const MAX_TEXT = 2048
/** Placeholders for longer texts. They cannot be written by anyone, and they differ, so that such a pod has no valid identity. */
const TOO_LONG = { annotation: `too long: ${randomUUID()}`, env: `too long: ${randomUUID()}` }

/** Whether an annotation was longer than {@link MAX_TEXT}. */
export const isTooLong = (annotation: string | undefined) => annotation === TOO_LONG.annotation

/**
 * Whether the pod opts out of injection: `pod2iam.dev/inject: "false"`, or a value that admission never accepts. A
 * sidecar of ours in such a pod can only be forged.
 */
export const isOptedOut = ({ annotations }: Pick<PodRecord, 'annotations'>) =>
  ![undefined, 'metadata'].includes(annotations[KEYS.inject])

/** Whether a pod has ended permanently. */
export const hasEnded = ({ phase }: { readonly phase: string }) => phase === 'Succeeded' || phase === 'Failed'

/** `namespace/name`, for logs. */
export const podName = (pod: { readonly namespace: string; readonly name: string }) =>
  `${pod.namespace}/${pod.name}`

/**
 * Projects a pod as the API server sends it, or undefined for what is not a pod. Never throws.
 *
 * @param roleKey the configured key of the role annotation
 */
export function podRecord(object: unknown, roleKey: string): PodRecord | undefined {
  const { metadata, spec, status } = (object ?? {}) as V1Pod
  if (!metadata?.uid || !metadata.namespace || !metadata.name || !spec) return undefined
  const own = [KEYS.externalId, KEYS.sessionName, KEYS.sessionPolicyArns, KEYS.inject]
  const keys: readonly string[] = [roleKey, ...own]
  const kept = Object.fromEntries(
    Object.entries(metadata.annotations ?? {})
      .filter(([key]) => keys.includes(key))
      .map(([key, value]) => [key, bounded(value, TOO_LONG.annotation)]),
  )
  // Only `restartPolicy: Always` makes an init container a native sidecar (KEP-753).
  const sidecar = spec.initContainers?.find(
    ({ name, restartPolicy }) => name === SIDECAR_CONTAINER && restartPolicy === 'Always',
  )
  return {
    uid: metadata.uid,
    namespace: metadata.namespace,
    name: metadata.name,
    serviceAccount: spec.serviceAccountName ?? 'default',
    nodeName: spec.nodeName ?? '',
    podIPs: addresses(status?.podIPs, status?.podIP),
    hostIPs: addresses(status?.hostIPs, status?.hostIP),
    phase: status?.phase ?? 'Pending',
    hostNetwork: spec.hostNetwork === true,
    cgroupUid: cgroupUid(metadata.uid, metadata.annotations),
    terminating: metadata.deletionTimestamp !== undefined,
    // JSON carries text where the type says Date.
    createdAt: Date.parse(String(metadata.creationTimestamp)) || 0,
    annotations: kept,
    identity: isOptedOut({ annotations: kept }) ? undefined : boundedIdentity(identityOfEnv(sidecar?.env)),
    credentialSource: sourceOfEnv(sidecar?.env),
  }
}

function bounded<T extends string | undefined>(text: T, marker: string): T | string {
  return text && text.length > MAX_TEXT ? marker : text
}

function boundedIdentity(identity: PodIdentity | undefined): PodIdentity | undefined {
  if (identity === undefined) return undefined
  const { source, role, externalId, sessionName, sessionPolicies } = identity
  return {
    source,
    role: bounded(role, TOO_LONG.env),
    externalId: bounded(externalId, TOO_LONG.env),
    sessionName: bounded(sessionName, TOO_LONG.env),
    sessionPolicies: bounded(sessionPolicies, TOO_LONG.env),
  }
}

/** The kubelet writes both annotations; a value that is no uid comes from somebody else. */
function cgroupUid(uid: string, annotations: Readonly<Record<string, string>> | undefined): string {
  const hash = annotations?.['kubernetes.io/config.hash']
  const isMirror = annotations?.['kubernetes.io/config.mirror'] !== undefined
  return isMirror && hash !== undefined && isPodUid(hash) ? hash : uid
}

/** API servers before dual-stack wrote only the single address. */
function addresses(many: readonly { readonly ip?: string }[] | undefined, one: string | undefined): string[] {
  const all = many?.map(({ ip }) => ip) ?? [one]
  return all.filter((ip): ip is string => ip !== undefined && ip !== '')
}
