import { type CredentialSource, sourceOfNamespace } from '../../common/credential-source.ts'
import { judgeFinalPod } from '../form/final-pod.ts'
import { foreignContent } from '../form/foreign-content.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { accountRole, type ServiceAccount } from '../pod/account.ts'
import { admittedIdentity } from '../pod/identity.ts'
import type { Namespace } from '../pod/namespace.ts'
import type { PodOptions } from '../pod/options.ts'
import { byEveryKey } from './account.ts'
import { consider } from './consider.ts'
import type { WholeObject } from './review.ts'
import type { Verdict } from './verdict.ts'

/**
 * Decides about a pod after all mutating webhooks: it is denied if `decide` denies it, or if it lacks what that
 * adds, in the form of any replica of any supported release.
 */
export function decideFinal(
  whole: WholeObject,
  namespace: Namespace,
  settings: InjectionSettings,
  account?: ServiceAccount,
): FinalDecision {
  const [own, ...others] = byEveryKey(settings, account, (one) =>
    decideFinalBy(whole, namespace, one, account),
  )
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
  // The mutating webhook has already warned about a pod that is skipped.
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

/** The sources that this replica and the others may have written; a replica of 0.1.0, which may just have ended, knows only `node-role`. */
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
