/** Calls the registered webhooks: `apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go`. */
import { randomUUID } from 'node:crypto'
import { withDefaults } from '../objects/defaults.ts'
import { jsonPatch, PatchError } from '../objects/json-patch.ts'
import {
  isObject,
  type JsonObject,
  type KubeObject,
  listAt,
  objectAt,
  sameJson,
  stringAt,
} from '../objects/objects.ts'
import { decodeTyped } from '../objects/schema.ts'
import { ApiError, badRequest, forbidden, internalError, type Status } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { AdmissionRequest, MutatingWebhooks, Reinvocation, ValidatingPlugin } from './admission.ts'
import { evaluate } from './match-conditions.ts'
import type { WebhookCaller } from './webhook-call.ts'
import { wants } from './webhook-match.ts'

const GROUP = 'admissionregistration.k8s.io'

/** The webhook could not be called, or its answer is no review: the failure policy decides. */
class CallError extends Error {
  override readonly name = 'CallError'
}

type Hook = { readonly id: string; readonly name: string; readonly webhook: JsonObject }

/** Every entry of every configuration, sorted by the configuration's name, then in its order. */
function registered(store: Store, plural: string): Hook[] {
  return store.list({ group: GROUP, plural }).flatMap((configuration) =>
    listAt(configuration, 'webhooks').map((webhook, index) => {
      const name = stringAt(webhook, 'name') ?? ''
      return { id: `${configuration.metadata.name}/${name}/${index}`, name, webhook }
    }),
  )
}

/** `request` of an AdmissionReview, without the objects. */
export function requestFields(request: AdmissionRequest): JsonObject {
  const { group, version, plural } = request.resource
  const resource = { group, version, resource: plural }
  const sub = request.subresource === undefined ? {} : { subResource: request.subresource }
  const requestSub = request.subresource === undefined ? {} : { requestSubResource: request.subresource }
  return {
    uid: randomUUID(),
    kind: request.kind,
    resource,
    ...sub,
    requestKind: request.kind,
    requestResource: resource,
    ...requestSub,
    ...(request.name === '' ? {} : { name: request.name }),
    ...(request.namespace === undefined ? {} : { namespace: request.namespace }),
    operation: request.operation,
    userInfo: request.user,
    dryRun: request.dryRun,
    options: request.options,
  }
}

/** Whether to call; an evaluation error under `Fail` refuses the request. */
function shouldCall(store: Store, hook: Hook, request: AdmissionRequest): boolean {
  if (!wants(store, hook.webhook, request)) return false
  const conditions = listAt(hook.webhook, 'matchConditions')
  const matched = evaluate(conditions, request, requestFields(request))
  if (matched.outcome !== 'error') return matched.outcome === 'match'
  if (hook.webhook.failurePolicy === 'Ignore') return false
  const name = request.name || (request.object?.metadata.name ?? request.object?.metadata.generateName ?? '')
  throw forbidden(request.resource, name, matched.message)
}

/** The denial that a user reads. A code below 400 becomes 400 (kubernetes#77022). */
function denial(name: string, result: unknown): ApiError {
  const given = objectAt({ result }, 'result')
  const by = `admission webhook "${name}" denied the request`
  const [text, reason] = [stringAt(given, 'message') ?? '', stringAt(given, 'reason') ?? '']
  const why = text !== '' ? `: ${text}` : reason !== '' ? `: ${reason}` : ' without explanation'
  const code = typeof given.code === 'number' && given.code >= 400 ? given.code : 400
  return new ApiError({
    ...(given as Partial<Status>),
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: `${by}${why}`,
    code,
  })
}

type Response = {
  readonly allowed: boolean
  readonly patch: string
  readonly patchType: string
  readonly raw: JsonObject
}

/** What is wrong with the patch of an allowing response, if anything. */
function patchProblem(patch: string, patchType: string, mutating: boolean): string | undefined {
  if (!mutating && patch !== '') return 'validating webhook may not return response.patch'
  if (!mutating && patchType !== '') return 'validating webhook may not return response.patchType'
  if (patch !== '' && patchType === '') return 'webhook returned response.patch but not response.patchType'
  if (patch === '' && patchType !== '') return 'webhook returned response.patchType but not response.patch'
  return undefined
}

const UNCONVERTED = 'converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion'

/** VerifyAdmissionResponse of `webhook/request/admissionreview.go`. */
function verify(answer: unknown, uid: unknown, mutating: boolean): Response {
  const invalid = (text: string) => new CallError(`received invalid webhook response: ${text}`)
  const review = isObject(answer) ? answer : {}
  const got = `${stringAt(review, 'apiVersion') ?? '/'}, Kind=${stringAt(review, 'kind') ?? ''}`
  if (got === 'admission.k8s.io/v1beta1, Kind=AdmissionReview')
    throw new CallError(`failed to call webhook: ${UNCONVERTED}`)
  if (got !== 'admission.k8s.io/v1, Kind=AdmissionReview')
    throw invalid(`expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got ${got}`)
  const raw = review.response
  if (!isObject(raw)) throw invalid('webhook response was absent')
  if (raw.uid !== uid)
    throw invalid(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(raw.uid ?? '')}`)
  if (raw.allowed !== true) return { allowed: false, patch: '', patchType: '', raw }
  const [patch, patchType] = [stringAt(raw, 'patch') ?? '', stringAt(raw, 'patchType') ?? '']
  const problem = patchProblem(patch, patchType, mutating)
  if (problem !== undefined) throw invalid(problem)
  return { allowed: true, patch, patchType, raw }
}

async function ask(
  caller: WebhookCaller,
  hook: Hook,
  request: AdmissionRequest,
  mutating: boolean,
): Promise<Response> {
  const { webhook, name } = hook
  if (request.dryRun && !['None', 'NoneOnDryRun'].includes(stringAt(webhook, 'sideEffects') ?? ''))
    throw badRequest(`admission webhook "${name}" does not support dry run`)
  const fields = requestFields(request)
  const review = {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: { ...fields, object: request.object ?? null, oldObject: request.oldObject ?? null },
  }
  const seconds = typeof webhook.timeoutSeconds === 'number' ? webhook.timeoutSeconds : 10
  const answer = await caller
    .call(objectAt(webhook, 'clientConfig'), seconds, review)
    .catch((error: unknown) => {
      throw new CallError(`failed to call webhook: ${error instanceof Error ? error.message : error}`)
    })
  const response = verify(answer, fields.uid, mutating)
  for (const [key, value] of Object.entries(objectAt(response.raw, 'auditAnnotations')))
    request.audit(`${name}/${key}`, String(value))
  const { warnings } = response.raw
  for (const warning of Array.isArray(warnings) ? warnings : []) request.warn(String(warning))
  if (!response.allowed) throw denial(name, response.raw.result ?? response.raw.status)
  return response
}

/** The object after the webhook's patch. A patch that does not apply is an error, whatever the failure policy says. */
function patched(object: KubeObject, { patch, patchType }: Response): KubeObject {
  if (patch === '') return object
  let operations: unknown
  try {
    operations = JSON.parse(Buffer.from(patch, 'base64').toString('utf8'))
  } catch (error) {
    throw new CallError(
      `received undecodable patch in webhook response: ${error instanceof Error ? error.message : error}`,
    )
  }
  if (Array.isArray(operations) && operations.length === 0) return object
  if (patchType !== 'JSONPatch') throw new CallError(`unsupported patch type "${patchType}"`)
  try {
    const result = jsonPatch(object, operations)
    if (!isObject(result) || !isObject(result.metadata))
      throw new PatchError('the patched object is no object')
    // Not decoded strictly: fields that the kind does not have are silently dropped.
    return withDefaults(decodeTyped(result as KubeObject).object)
  } catch (error) {
    throw internalError(error instanceof Error ? error.message : String(error))
  }
}

/** Under `Ignore` a webhook that cannot be called is skipped; under `Fail` the request is refused. */
function failed(hook: Hook, request: AdmissionRequest, error: unknown, annotation: string): void {
  if (!(error instanceof CallError)) throw error
  const text = `failed calling webhook "${hook.name}": ${error.message}`
  if (hook.webhook.failurePolicy !== 'Ignore') throw internalError(text)
  request.audit(annotation, hook.name)
}

/** Calls one mutating webhook and returns the object after it. */
async function mutateBy(
  caller: WebhookCaller,
  hook: Hook,
  request: AdmissionRequest,
  object: KubeObject,
  place: string,
): Promise<KubeObject> {
  let next = object
  try {
    next = patched(object, await ask(caller, hook, { ...request, object }, true))
  } catch (error) {
    failed(hook, request, error, `failed-open.mutation.webhook.admission.k8s.io/${place}`)
  }
  const mutation = {
    configuration: hook.id.split('/')[0],
    webhook: hook.name,
    mutated: !sameJson(next, object),
  }
  request.audit(`mutation.webhook.admission.k8s.io/${place}`, JSON.stringify(mutation))
  return next
}

/** Calls mutating webhooks one after another. */
export function mutatingWebhooks(store: Store, caller: WebhookCaller): MutatingWebhooks {
  return async (request, incoming, context) => {
    let object = incoming
    const round = context.isReinvoke ? 1 : 0
    if (context.isReinvoke && !sameJson(object, context.lastOutput)) requireReinvocation(context)
    for (const [index, hook] of registered(store, 'mutatingwebhookconfigurations').entries()) {
      if (!shouldCall(store, hook, { ...request, object })) continue
      // A webhook that was not called in the first round is not called in the second either.
      if (context.isReinvoke && !context.reinvoke.has(hook.id)) continue
      const next = await mutateBy(caller, hook, request, object, `round_${round}_index_${index}`)
      if (!sameJson(next, object)) {
        requireReinvocation(context)
        context.shouldReinvoke = true
      }
      if (hook.webhook.reinvocationPolicy === 'IfNeeded') context.previouslyInvoked.add(hook.id)
      object = next
    }
    context.lastOutput = object
    return object
  }
}

function requireReinvocation(context: Reinvocation): void {
  for (const id of context.previouslyInvoked) context.reinvoke.add(id)
  context.previouslyInvoked.clear()
}

/** Calls all validating webhooks at once; the first refusal in their order counts. */
export function validatingWebhooks(store: Store, caller: WebhookCaller): ValidatingPlugin {
  return async (request) => {
    const hooks = registered(store, 'validatingwebhookconfigurations').filter((hook) =>
      shouldCall(store, hook, request),
    )
    const results = await Promise.allSettled(
      hooks.map(async (hook, index) => {
        try {
          await ask(caller, hook, request, false)
        } catch (error) {
          failed(
            hook,
            request,
            error,
            `failed-open.validating.webhook.admission.k8s.io/round_0_index_${index}`,
          )
        }
      }),
    )
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }
}
