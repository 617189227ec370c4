import { identityOfAnnotations } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject } from '../json.ts'
import type { Namespace } from '../pod/namespace.ts'
import { decideFinal } from './decide.ts'
import { type Reason, sentence } from './reasons.ts'
import { allow, type ReviewRequest, refuse } from './review.ts'
import { type Court, type Told, type Webhook, type WebhookDependencies, webhook } from './webhook.ts'

type Annotations = Readonly<Record<string, string>>

/**
 * The validating webhook, after all mutating ones:
 * a pod that should have the sidecar has it, whole (another webhook may have undone it), whichever replica added it;
 * the identity of a living pod stays what it was created with.
 */
export function validator(dependencies: WebhookDependencies): Webhook {
  return webhook(
    'validate',
    async function validate(request, court, settings) {
      const { operation, resource, subResource } = request
      if (resource === 'pods' && operation === 'CREATE' && subResource === '')
        return finalPod(request, court, settings)
      const binds = resource === 'bindings' || (resource === 'pods' && subResource === 'binding')
      if (binds || (resource === 'pods' && operation === 'UPDATE')) return livingPod(request, settings)
      return allowed(request, 'not-validated')
    },
    dependencies,
  )
}

async function finalPod(
  request: ReviewRequest,
  { namespace, inTurn }: Court,
  settings: InjectionSettings,
): Promise<Told> {
  const where = await namespace()
  return inTurn(() => judgedFinal(request, where, settings))
}

function judgedFinal(request: ReviewRequest, where: Namespace, settings: InjectionSettings): Told {
  const decision = decideFinal(request.object, request.whole(), where, settings)
  if (decision.kind === 'deny') return refused(request, decision.reason, decision.sentence)
  // Of a pod that is left alone the mutating webhook has said why.
  return allowed(request, decision.reason, decision.reason === 'already-injected' ? decision.warnings : [])
}

/**
 * Identity annotations are frozen, also through `pods/status`, `pods/binding` and `bindings`, which can set annotations. A
 * binding has no old object: whatever identity it carries would be new to the pod. Pods that are being deleted are left
 * alone, by what the API server has stored: the `deletionTimestamp` of a binding's body is the sender's.
 */
function livingPod(request: ReviewRequest, settings: InjectionSettings): Told {
  const [before, after] = [annotationsOf(request.oldObject), annotationsOf(request.object)]
  const changed = isTerminating(request.oldObject) ? undefined : differing(before, after, settings)
  return changed === undefined
    ? allowed(request, 'unchanged')
    : refusedFor(request, 'identity-changed', changed, settings)
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

function allowed({ uid }: ReviewRequest, reason: Reason, warnings: readonly string[] = []): Told {
  return {
    outcome: 'allow',
    reason,
    response: allow(uid, { warnings, audit: { decision: 'allow', reason } }),
  }
}

function refusedFor(
  request: ReviewRequest,
  reason: Reason,
  detail: string,
  { roleKey }: InjectionSettings,
): Told {
  return refused(request, reason, sentence(reason, { roleKey, namespace: request.namespace, detail }))
}

function refused({ uid }: ReviewRequest, reason: Reason, message: string): Told {
  const status = { code: 403, reason: 'Forbidden', message }
  return { outcome: 'deny', reason, response: refuse(uid, status, { decision: 'deny', reason }) }
}
