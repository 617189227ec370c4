/**
 * What happens to a pod: a pure function of its raw JSON, its namespace and the operator's settings.
 *
 *   namespace label   pod                           → outcome
 *   (none)            any                           → skip; a warning when it asks for a role
 *   enabled, all      a reserved name, not as ours  → deny, whatever else would hold
 *   any               mirror, inject: "false"       → skip
 *   enabled           neither role nor metadata     → skip
 *   enabled, all      asks, and something forbids   → deny, one sentence; so where it is too large to be judged
 *   all               does not ask, the same        → skip; so where it is too large
 *   enabled, all      otherwise                     → patch
 */
import { injectionMode, KEYS } from '../common/keys.ts'
import { renderAddition } from './addition.ts'
import { admittedIdentity } from './admitted-identity.ts'
import { environmentWarnings } from './environment-warnings.ts'
import type { InjectionSettings } from './injection-settings.ts'
import type { Namespace } from './namespace.ts'
import type { PatchOp } from './patch.ts'
import { placementWarnings } from './placement-warnings.ts'
import { plan } from './plan.ts'
import { type Pod, readPod, readPodHead } from './pod.ts'
import { readOptions } from './pod-options.ts'
import { tooMany } from './pod-size.ts'
import { type Reason, sentence } from './reasons.ts'
import { foreignContent, reservedName as reservedNameOf } from './reserved.ts'
import type { WholeObject } from './review.ts'
import type { RedirectMode } from './settings.ts'
import { isMirrorPod, type Obstacle, unsupported } from './unsupported.ts'

export type Decision =
  | { readonly kind: 'skip'; readonly reason: Reason; readonly warnings: readonly string[] }
  | { readonly kind: 'deny'; readonly reason: Reason; readonly sentence: string }
  | {
      readonly kind: 'patch'
      readonly reason: 'injected' | 'already-injected'
      readonly ops: readonly PatchOp[]
      readonly warnings: readonly string[]
      readonly role: string
      readonly redirect: RedirectMode
    }

/**
 * Decides about the creation of a pod.
 *
 * @param raw `request.object` of the admission review
 * @param namespace the pod's namespace (`request.namespace`), as it is now
 */
export function decide(raw: unknown, namespace: Namespace, settings: InjectionSettings): Decision {
  return decideWhole(raw, { isRead: true, object: raw }, namespace, settings)
}

/**
 * The same about a pod that may have been too large to be parsed.
 *
 * @param head what is known of it all the same: its name and our annotations
 */
export function decideWhole(
  head: unknown,
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
): Decision {
  const facts = (detail: string) => ({ roleKey: settings.roleKey, namespace: namespace.name, detail })
  const deny = (reason: Reason, detail: string): Decision => ({
    kind: 'deny',
    reason,
    sentence: sentence(reason, facts(detail)),
  })
  const read = whole.isRead ? readPod(whole.object) : readPodHead(head)
  if (!read.ok) return deny('malformed-pod', read.problem)
  const { pod } = read
  const annotations = pod.metadata?.annotations ?? {}
  const reservedName = () => (whole.isRead ? reservedNameOf(pod) : maybeReserved(whole))
  const asks = annotations[settings.roleKey] !== undefined || annotations[KEYS.inject] === 'metadata'

  const leftAlone = whyLeftAlone(pod, namespace, asks)
  if (leftAlone !== undefined) {
    const reserved = injectionMode(namespace.labels) === undefined ? undefined : reservedName()
    if (reserved !== undefined) return deny(reserved.reason, reserved.detail)
    const warn = leftAlone === 'namespace-not-enabled' && asks
    return { kind: 'skip', reason: leftAlone, warnings: warn ? [sentence(leftAlone, facts(''))] : [] }
  }
  /** A pod that does not ask for a role must not suffer from its namespace's label. */
  const refuse = (reason: Reason, detail: string): Decision => {
    if (asks && !(reason === 'host-network' && settings.hostNetworkAnnotated === 'warn'))
      return deny(reason, detail)
    const reserved = reservedName()
    if (reserved !== undefined) return deny(reserved.reason, reserved.detail)
    const expected = !asks && (reason === 'host-network' || reason === 'windows' || reason === 'fargate')
    return {
      kind: 'skip',
      reason,
      warnings: expected ? [] : [`no sidecar: ${sentence(reason, facts(detail))}`],
    }
  }

  const obstacle = whole.isRead ? (unsupported(pod) ?? tooMany(pod)) : tooLarge(whole)
  if (obstacle !== undefined) return refuse(obstacle.reason, obstacle.detail)
  const options = readOptions(annotations, namespace, settings)
  if (!options.ok) return deny('invalid-annotation', options.detail)
  const identity = admittedIdentity(annotations, namespace, settings)
  if (!identity.ok) return refuse(identity.reason, identity.detail)
  const { shownRole } = identity
  const addition = renderAddition(pod, identity.identity, shownRole, options.options, settings)
  const foreign = foreignContent(pod, addition)
  if (foreign !== undefined) return deny(foreign.reason, foreign.detail)

  const ops = plan(pod, addition)
  return {
    kind: 'patch',
    reason: ops.length > 0 ? 'injected' : 'already-injected',
    ops,
    warnings: [
      ...identity.warnings,
      ...options.warnings,
      ...environmentWarnings(pod, options.options.redirect),
      ...placementWarnings(pod, options.options.redirect),
    ],
    role: shownRole,
    redirect: options.options.redirect,
  }
}

type Unread = WholeObject & { readonly isRead: false }

const tooLarge = ({ excess }: Unread): Obstacle => ({ reason: 'pod-too-large', detail: excess })

/** Where a name of ours may be among what was not read, nobody is let pass: it could only be a forged sidecar. */
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
