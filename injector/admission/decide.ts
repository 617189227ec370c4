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
import { injectionMode } from '../../common/keys.ts'
import { foreignContent } from '../form/foreign-content.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { renderAddition } from '../patch/addition.ts'
import { plan } from '../patch/plan.ts'
import type { ServiceAccount } from '../pod/account.ts'
import type { Namespace } from '../pod/namespace.ts'
import { environmentWarnings } from '../warnings/environment-warnings.ts'
import { meshWarnings } from '../warnings/mesh-warnings.ts'
import { proxyWarnings } from '../warnings/proxy-warnings.ts'
import { sidecarCpuWarnings } from '../warnings/sidecar-cpu-warnings.ts'
import { tokenWarnings } from '../warnings/token-warnings.ts'
import { byEveryKey } from './account.ts'
import { consider } from './consider.ts'
import type { WholeObject } from './review.ts'
import type { Verdict } from './verdict.ts'

/** What is decided about a pod before it is changed. */
export type Decision = Exclude<Verdict, { kind: 'allow' | 'error' }>

/**
 * Decides about the creation of a pod.
 *
 * @param whole `request.object` of the admission review
 * @param namespace the current state of the pod's namespace (`request.namespace`)
 * @param account the pod's service account (`accountOf`); undefined if it neither names a role nor narrows one
 */
export function decide(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account?: ServiceAccount,
): Decision {
  const [decision, ...others] = byEveryKey(settings, account, (one) =>
    decideBy(whole, namespace, one, account),
  )
  const own = decision()
  // By this replica's settings the pod requests no sidecar, so the one in it is reserved; but another replica may just have added it.
  const isReserved = own.kind === 'deny' && own.reason.startsWith('reserved-')
  const theirs = isReserved ? others.map((other) => other()).find(({ kind }) => kind === 'patch') : undefined
  return withTokenWarnings(theirs ?? own, whole, namespace, settings)
}

function withTokenWarnings(
  decision: Decision,
  whole: WholeObject,
  { labels }: Namespace,
  settings: InjectionSettings,
): Decision {
  if (decision.kind === 'deny' || !whole.isRead || injectionMode(labels) === undefined) return decision
  return { ...decision, warnings: [...decision.warnings, ...tokenWarnings(whole.object, settings)] }
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
      ...sidecarCpuWarnings(pod, options.resources, addition.resources),
      ...planned.warnings,
    ],
    role: identity.shownRole,
    redirect: options.redirect,
    resources: addition.resources,
  }
}
