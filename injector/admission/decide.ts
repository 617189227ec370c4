/**
 * What happens to a pod: a pure function of its raw JSON, its namespace and the operator's settings.
 *
 *   namespace label   pod                           → outcome
 *   (none)            any                           → skip; a warning when it asks for a role
 *   enabled, all      foreign, reserved name        → deny, regardless of the other rows
 *   any               mirror, inject: "false"       → skip
 *   enabled           neither role nor metadata     → skip
 *   enabled, all      role by its service account,  → skip, with a warning
 *                     which EKS has given it
 *   enabled, all      asks, but an obstacle exists  → deny with one sentence; also when it is too large to be judged
 *   all               does not ask, same obstacle   → skip; also when it is too large
 *   enabled, all      otherwise                     → patch
 *
 * A pod asks by its annotations, or, where the operator allows it, by those of its service account.
 */
import { type CredentialSource, sourceOfNamespace } from '../../common/credential-source.ts'
import { identityOfAnnotations, withAccountRole } from '../../common/identity.ts'
import { injectionMode, KEYS } from '../../common/keys.ts'
import { judgeFinalPod } from '../form/final-pod.ts'
import { foreignContent } from '../form/foreign-content.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { renderAddition } from '../patch/addition.ts'
import { plan } from '../patch/plan.ts'
import { accountName, accountRole, isServedByEks, type ServiceAccount } from '../pod/account.ts'
import { admittedIdentity, type IdentityResult } from '../pod/identity.ts'
import type { Namespace } from '../pod/namespace.ts'
import { type PodOptions, readOptions } from '../pod/options.ts'
import { type Pod, readPod, readPodHead } from '../pod/pod.ts'
import { tooLittle } from '../pod/pod-level-resources.ts'
import { reservedName as reservedNameOf } from '../pod/reserved.ts'
import { tooMany } from '../pod/size-bounds.ts'
import { isMirrorPod, type Obstacle, unsupported } from '../pod/unsupported.ts'
import { type Reason, sentence } from '../reasons.ts'
import { environmentWarnings } from '../warnings/environment-warnings.ts'
import { meshWarnings } from '../warnings/mesh-warnings.ts'
import { proxyWarnings } from '../warnings/proxy-warnings.ts'
import { roomWarnings } from '../warnings/room-warnings.ts'
import { accountKeys } from './account.ts'
import type { WholeObject } from './review.ts'
import type { Verdict } from './verdict.ts'

/** What is decided about a pod before it is changed. */
export type Decision = Exclude<Verdict, { kind: 'allow' | 'error' }>

/**
 * Decides about the creation of a pod.
 *
 * @param whole `request.object` of the admission review
 * @param namespace the current state of the pod's namespace (`request.namespace`)
 * @param account the pod's service account (`accountOf`); undefined: it neither names a role nor narrows one
 */
export function decide(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account?: ServiceAccount,
): Decision {
  const [decision, ...others] = byEveryKey(settings, (one) => () => decideBy(whole, namespace, one, account))
  const own = decision()
  // Of a pod that does not ask by this replica's settings a sidecar is reserved, but it may be what another replica has just added.
  const isReserved = own.kind === 'deny' && own.reason.startsWith('reserved-')
  const theirs = isReserved ? others.map((other) => other()).find(({ kind }) => kind === 'patch') : undefined
  return theirs ?? own
}

/** What `judge` makes of this replica's settings, and then with the service account keys of the others, while they serve. */
function byEveryKey<T>(settings: InjectionSettings, judge: (settings: InjectionSettings) => T): [T, ...T[]] {
  const [own, ...others] = accountKeys(settings)
  const by = (serviceAccountKey: string | undefined) => judge({ ...settings, serviceAccountKey })
  return [by(own), ...others.map(by)]
}

function decideBy(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
): Decision {
  const considered = consider(whole, namespace, settings, account)
  if ('kind' in considered) return considered
  const { pod, options, identity, warnings, deny } = considered
  const foreign = foreignContent(pod, settings)
  if (foreign !== undefined) return deny(foreign.reason, foreign.detail)
  const addition = renderAddition(pod, identity.identity, identity.shownRole, options, settings)
  const planned = plan(pod, addition, settings)
  return {
    kind: 'patch',
    reason: planned.ops.length > 0 ? 'injected' : 'already-injected',
    ops: planned.ops,
    warnings: [
      ...warnings,
      ...environmentWarnings(pod, options.redirect),
      ...proxyWarnings(pod, options.redirect),
      ...meshWarnings(pod, options.redirect),
      ...roomWarnings(pod, options.resources, addition.resources),
      ...planned.warnings,
    ],
    role: identity.shownRole,
    redirect: options.redirect,
    resources: addition.resources,
  }
}

/**
 * Decides about a pod after all mutating webhooks: it is denied where {@link decide} denies it, and where it lacks what that
 * adds, in the form that any replica of any supported release gives it.
 */
export function decideFinal(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account?: ServiceAccount,
): FinalDecision {
  const [own, ...others] = byEveryKey(settings, (one) => () => decideFinalBy(whole, namespace, one, account))
  const decision = own()
  const allowing = decision.kind === 'deny' ? others.map((other) => other()).find(isAllowing) : undefined
  return allowing ?? decision
}

type FinalDecision = Exclude<Verdict, { kind: 'skip' | 'patch' | 'error' }>
const isAllowing = ({ kind }: FinalDecision) => kind === 'allow'

function decideFinalBy(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
): FinalDecision {
  const considered = consider(whole, namespace, settings, account)
  // The mutating webhook has already warned about a pod that is left alone.
  if ('kind' in considered)
    return considered.kind === 'skip' ? { ...considered, kind: 'allow', warnings: [] } : considered
  const { pod, options, roleKey, deny } = considered
  const foreign = foreignContent(pod, settings)
  if (foreign !== undefined) return deny(foreign.reason, foreign.detail)
  const role = accountRole(account, settings.serviceAccountKey)
  const final = judgeFinalPod(pod, settings, sourcesFor(namespace, options, settings), role)
  if (!final.ok) return deny('not-injected', final.detail)
  // A replica with another role key took the sidecar's role from another annotation: judge that one.
  if (final.roleKey !== roleKey) {
    const annotations = pod.metadata?.annotations ?? {}
    const identity = admittedIdentity(
      annotations,
      namespace,
      { ...settings, roleKey: final.roleKey },
      account,
    )
    if (!identity.ok) return deny(identity.reason, identity.detail)
  }
  return { kind: 'allow', reason: 'already-injected', warnings: final.warnings }
}

/** The sources that this replica and the others may have written: one of 0.1.0, which may just have ended, knows only `node-role`. */
function sourcesFor(
  namespace: Namespace,
  { credentialSource }: PodOptions,
  { credentialSources, otherCredentialSources }: InjectionSettings,
): CredentialSource[] {
  const chosen = [credentialSources, ...otherCredentialSources].map((list) =>
    sourceOfNamespace(namespace, list),
  )
  return [credentialSource, ...chosen.map((one) => (one.ok ? one.source : 'node-role'))]
}

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

function consider(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
): Exclude<Decision, { kind: 'patch' }> | Considered {
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
  const leftAlone = whyLeftAlone(pod, namespace, asks) ?? servedByEks(pod, byAccount, settings)
  if (leftAlone !== undefined) {
    const reserved = injectionMode(namespace.labels) === undefined ? undefined : reservedName()
    if (reserved !== undefined) return deny(reserved.reason, reserved.detail)
    const warn = leftAlone === 'served-by-eks' || (leftAlone === 'namespace-not-enabled' && asks)
    const why = sentence(leftAlone, facts(accountName(account)))
    return { kind: 'skip', reason: leftAlone, warnings: warn ? [why] : [] }
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

  const obstacle = whole.isRead ? (unsupported(pod) ?? tooMany(pod) ?? tooLittle(pod)) : tooLarge(whole)
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

function whyLeftAlone(pod: Pod, namespace: Namespace, asks: boolean): Reason | undefined {
  if (isMirrorPod(pod)) return 'mirror-pod'
  if (pod.metadata?.annotations?.[KEYS.inject] === 'false') return 'opted-out'
  const mode = injectionMode(namespace.labels)
  if (mode === undefined) return 'namespace-not-enabled'
  return mode === 'enabled' && !asks ? 'not-annotated' : undefined
}
