import { identityOfAnnotations } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject } from '../json.ts'
import { decideFinal } from './decide.ts'
import { sentence } from './reasons.ts'
import type { ReviewRequest } from './review.ts'
import type { ReviewContext, Verdict } from './verdict.ts'

type Annotations = Readonly<Record<string, string>>

/**
 * Handles `/validate`, after all mutating webhooks: a pod that should have the sidecar has it, whole (another webhook may have
 * undone it), whichever replica added it; the identity of a living pod stays what it was created with.
 */
export async function validate(
  request: ReviewRequest,
  { namespace, inTurn }: ReviewContext,
  settings: InjectionSettings,
): Promise<Verdict> {
  const { operation, resource, subResource } = request
  if (resource === 'pods' && operation === 'CREATE' && subResource === '') {
    const where = await namespace()
    return inTurn(() => decideFinal(request.whole(), where, settings))
  }
  const binds = resource === 'bindings' || (resource === 'pods' && subResource === 'binding')
  if (binds || (resource === 'pods' && operation === 'UPDATE')) return livingPod(request, settings)
  return { kind: 'allow', reason: 'not-validated', warnings: [] }
}

/**
 * Identity annotations are frozen, also through `pods/status`, `pods/binding` and `bindings`, which can set annotations. A
 * binding has no old object: whatever identity it carries would be new to the pod. Pods that are being deleted are left
 * alone, by what the API server has stored: the `deletionTimestamp` of a binding's body is the sender's.
 */
function livingPod({ namespace, object, oldObject }: ReviewRequest, settings: InjectionSettings): Verdict {
  const [before, after] = [annotationsOf(oldObject), annotationsOf(object)]
  const detail = isTerminating(oldObject) ? undefined : differing(before, after, settings)
  if (detail === undefined) return { kind: 'allow', reason: 'unchanged', warnings: [] }
  const { roleKey } = settings
  const reason = 'identity-changed'
  return { kind: 'deny', reason, sentence: sentence(reason, { roleKey, namespace, detail }) }
}

function annotationsOf(object: unknown): Annotations {
  const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {}
  return isObject(metadata.annotations) ? (metadata.annotations as Annotations) : {}
}

/** The first annotation in which two identities differ; never its value. */
function differing(before: Annotations, after: Annotations, { roleKey, otherRoleKeys }: InjectionSettings) {
  // `"false"` is no identity of its own, but a pod left alone at its creation must not be given one, nor disown one.
  if (before[KEYS.inject] !== after[KEYS.inject]) return `annotation ${KEYS.inject}`
  for (const key of [roleKey, ...otherRoleKeys]) {
    const [a, b] = [identityOfAnnotations(before, key), identityOfAnnotations(after, key)]
    if (a.role !== b.role) return `annotation ${key}`
    if (a.externalId !== b.externalId) return `annotation ${KEYS.externalId}`
    if (a.sessionName !== b.sessionName) return `annotation ${KEYS.sessionName}`
  }
  return undefined
}

function isTerminating(object: unknown): boolean {
  return (
    isObject(object) && isObject(object.metadata) && typeof object.metadata.deletionTimestamp === 'string'
  )
}
