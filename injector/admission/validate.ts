import { identityOfAnnotations } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { metadataOf, objectOf } from '../json.ts'
import { sentence } from '../reasons.ts'
import { accountOf } from './account.ts'
import { decideFinal } from './decide-final.ts'
import type { ReviewRequest } from './review.ts'
import type { ReviewContext, Verdict } from './verdict.ts'

type Annotations = Readonly<Record<string, string>>

/**
 * Handles `/validate`, which is called after all mutating webhooks. A new pod that should have the sidecar must have all of it,
 * whichever replica added it and whatever other webhooks did; the identity of an existing pod must not change.
 */
export async function validate(
  request: ReviewRequest,
  context: ReviewContext,
  settings: InjectionSettings,
): Promise<Verdict> {
  const { operation, resource, subResource } = request
  if (resource === 'pods' && operation === 'CREATE' && subResource === '') {
    const namespace = await context.lookUpNamespace()
    const account = await accountOf(request.object, namespace, context, settings)
    return context.inTurn(() => decideFinal(request.whole(), namespace, settings, account))
  }
  const binds = resource === 'bindings' || (resource === 'pods' && subResource === 'binding')
  if (binds || (resource === 'pods' && operation === 'UPDATE')) return livingPod(request, settings)
  return { kind: 'allow', reason: 'not-validated', warnings: [] }
}

/**
 * Identity annotations are frozen, also through `pods/status`, `pods/binding` and `bindings`, which can set annotations. A
 * binding has no old object, so any identity in it would be new to the pod. A pod that is being deleted is ignored, which
 * only its stored object shows: the `deletionTimestamp` in a binding's body was written by its sender.
 */
function livingPod({ namespace, object, oldObject }: ReviewRequest, settings: InjectionSettings): Verdict {
  const [before, after] = [annotationsOf(oldObject), annotationsOf(object)]
  const isTerminating = typeof metadataOf(oldObject).deletionTimestamp === 'string'
  const detail = isTerminating ? undefined : differing(before, after, settings)
  if (detail === undefined) return { kind: 'allow', reason: 'unchanged', warnings: [] }
  const { roleKey } = settings
  const reason = 'identity-changed'
  return { kind: 'deny', reason, sentence: sentence(reason, { roleKey, namespace, detail }) }
}

function annotationsOf(object: unknown): Annotations {
  return objectOf(metadataOf(object).annotations) as Annotations
}

/** The first annotation in which two identities differ; never its value. */
function differing(before: Annotations, after: Annotations, { roleKey, otherRoleKeys }: InjectionSettings) {
  // `"false"` is not an identity, but a pod that was left alone at its creation must not gain one, and no pod may lose its own.
  if (before[KEYS.inject] !== after[KEYS.inject]) return `annotation ${KEYS.inject}`
  for (const key of [roleKey, ...otherRoleKeys]) {
    const [a, b] = [identityOfAnnotations(before, key), identityOfAnnotations(after, key)]
    if (a.role !== b.role) return `annotation ${key}`
    if (a.externalId !== b.externalId) return `annotation ${KEYS.externalId}`
    if (a.sessionName !== b.sessionName) return `annotation ${KEYS.sessionName}`
    if (a.sessionPolicies !== b.sessionPolicies) return `annotation ${KEYS.sessionPolicyArns}`
  }
  return undefined
}
