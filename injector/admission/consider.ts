/** The rows of the table in `decide.ts` that depend on neither the containers that a pod already has nor what is added to it. */
import { identityOfAnnotations, withAccountRole } from '../../common/identity.ts'
import { injectionMode, KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { accountName, accountRole, isServedByEks, type ServiceAccount } from '../pod/account.ts'
import { admittedIdentity, type IdentityResult } from '../pod/identity.ts'
import type { Namespace } from '../pod/namespace.ts'
import { type PodOptions, readOptions } from '../pod/options.ts'
import { type Pod, readPod, readPodHead } from '../pod/pod.ts'
import { insufficientLimit } from '../pod/pod-level.ts'
import { reservedName as reservedNameOf } from '../pod/reserved.ts'
import { exceededBound } from '../pod/size-bounds.ts'
import { isMirrorPod, type Obstacle, unsupported } from '../pod/unsupported.ts'
import { type Reason, sentence } from '../reasons.ts'
import type { WholeObject } from './review.ts'
import type { Verdict } from './verdict.ts'

/** A pod that should have a sidecar, whether or not it already has one. */
type Considered = {
  readonly pod: Pod
  readonly options: PodOptions
  readonly identity: IdentityResult & { readonly ok: true }
  /** Key of the annotation with its role. */
  readonly roleKey: string
  readonly warnings: readonly string[]
  readonly deny: (reason: Reason, detail: string) => Extract<Verdict, { kind: 'deny' }>
}

/** Whether a pod should have a sidecar, or why it is skipped or denied, whatever containers it already has. */
export function consider(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
): Extract<Verdict, { kind: 'skip' | 'deny' }> | Considered {
  const read = whole.isRead ? readPod(whole.object) : readPodHead(whole.head)
  const annotations = (read.ok && read.pod.metadata?.annotations) || {}
  const roleKey = roleKeyOf(annotations, settings)
  const byAccount = accountAsks(annotations, roleKey, account, settings)
  const facts = (detail: string) => ({ roleKey, namespace: namespace.name, detail, byAccount })
  const deny = (reason: Reason, detail: string) =>
    ({ kind: 'deny', reason, sentence: sentence(reason, facts(detail)) }) as const
  if (!read.ok) return deny('malformed-pod', read.detail)
  const { pod } = read
  const reservedName = () => (whole.isRead ? reservedNameOf(pod) : maybeReserved(whole))
  const asks = asksItself(annotations, roleKey) || byAccount
  const skipReason = whySkipped(pod, namespace, asks) ?? servedByEks(pod, byAccount, settings)
  if (skipReason !== undefined) {
    const reserved = injectionMode(namespace.labels) === undefined ? undefined : reservedName()
    if (reserved !== undefined) return deny(reserved.reason, reserved.detail)
    const warn = skipReason === 'served-by-eks' || (skipReason === 'namespace-not-enabled' && asks)
    const why = sentence(skipReason, facts(accountName(account)))
    return { kind: 'skip', reason: skipReason, warnings: warn ? [why] : [] }
  }
  /** A pod that does not ask for a role must not suffer from its namespace's label. */
  const refuse = (reason: Reason, detail: string) => {
    if (asks && !(reason === 'host-network' && settings.hostNetworkAnnotated === 'warn'))
      return deny(reason, detail)
    const reserved = reservedName()
    if (reserved !== undefined) return deny(reserved.reason, reserved.detail)
    const expected = !asks && (reason === 'host-network' || reason === 'windows' || reason === 'fargate')
    return {
      kind: 'skip',
      reason,
      warnings: expected ? [] : [`no sidecar: ${sentence(reason, facts(detail))}`],
    } as const
  }

  const obstacle = whole.isRead
    ? (unsupported(pod) ?? exceededBound(pod) ?? insufficientLimit(pod))
    : tooLarge(whole)
  if (obstacle !== undefined) return refuse(obstacle.reason, obstacle.detail)
  const options = readOptions(annotations, namespace, settings)
  if (!options.ok) return deny('invalid-annotation', options.detail)
  const identity = admittedIdentity(annotations, namespace, { ...settings, roleKey }, account)
  if (!identity.ok) return refuse(identity.reason, identity.detail)
  const warnings = [...identity.warnings, ...options.warnings]
  return { pod, options: options.options, identity, roleKey, warnings, deny }
}

function asksItself(annotations: Readonly<Record<string, string>>, roleKey: string): boolean {
  return annotations[roleKey] !== undefined || annotations[KEYS.inject] === 'metadata'
}

/** Whether a pod that does not say itself what it wants gets the role of its service account. */
function accountAsks(
  annotations: Readonly<Record<string, string>>,
  roleKey: string,
  account: ServiceAccount | undefined,
  { serviceAccountKey }: InjectionSettings,
): boolean {
  const role = accountRole(account, serviceAccountKey)
  return withAccountRole(identityOfAnnotations(annotations, roleKey), role).source === 'service-account'
}

function servedByEks(pod: Pod, byAccount: boolean, { serviceAccountKey }: InjectionSettings) {
  return byAccount && isServedByEks(pod, serviceAccountKey) ? 'served-by-eks' : undefined
}

/** The key by which a pod asks for its role: this replica's, or that of a replica with another one, while such a replica exists. */
function roleKeyOf(
  annotations: Readonly<Record<string, string>>,
  { roleKey, otherRoleKeys }: InjectionSettings,
): string {
  return [roleKey, ...otherRoleKeys].find((key) => annotations[key] !== undefined) ?? roleKey
}

type Unread = WholeObject & { readonly isRead: false }

const tooLarge = ({ excess }: Unread): Obstacle => ({ reason: 'pod-too-large', detail: excess })

/** If the unread part may contain one of our names, the pod is denied: it could only be a forged sidecar. */
function maybeReserved(whole: Unread): Obstacle | undefined {
  return whole.mayHoldReserved ? tooLarge(whole) : undefined
}

function whySkipped(pod: Pod, namespace: Namespace, asks: boolean): Reason | undefined {
  if (isMirrorPod(pod)) return 'mirror-pod'
  if (pod.metadata?.annotations?.[KEYS.inject] === 'false') return 'opted-out'
  const mode = injectionMode(namespace.labels)
  if (mode === undefined) return 'namespace-not-enabled'
  return mode === 'enabled' && !asks ? 'not-annotated' : undefined
}
