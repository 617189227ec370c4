/** The admission review, `admission.k8s.io/v1`: reading a request and writing its response. */
import { isObject, type JsonObject } from './json.ts'
import type { PatchOp } from './patch.ts'

export type ReviewRequest = {
  readonly uid: string
  readonly namespace: string
  readonly operation: string
  /** As in `pods` or `apps/deployments`, with the group where it is not the core one. */
  readonly resource: string
  /** Empty for the object itself. */
  readonly subResource: string
  readonly dryRun: boolean
  readonly object: unknown
  readonly oldObject: unknown
}

export type ReviewResponse = {
  readonly uid: string
  readonly allowed: boolean
  readonly status?: { readonly code: number; readonly reason: string; readonly message: string }
  readonly patchType?: 'JSONPatch'
  /** Base64 of the JSON Patch. */
  readonly patch?: string
  readonly warnings?: readonly string[]
  readonly auditAnnotations?: Readonly<Record<string, string>>
}

export type ReviewResult =
  | { readonly ok: true; readonly request: ReviewRequest }
  | { readonly ok: false; readonly problem: string }

const API_VERSION = 'admission.k8s.io/v1'

/** Reads a body, or says in one sentence why it is no review that could be answered. */
export function readReview(body: string): ReviewResult {
  let review: unknown
  try {
    review = JSON.parse(body)
  } catch {
    return bad('the body is not JSON')
  }
  if (!isObject(review) || review.kind !== 'AdmissionReview' || review.apiVersion !== API_VERSION)
    return bad(`the body is not an AdmissionReview of ${API_VERSION}`)
  const { request } = review
  if (!isObject(request)) return bad('the AdmissionReview has no request')
  const { uid, namespace, operation, object, oldObject, resource, subResource } = request
  // Without a uid the API server would report "expected response.uid", which hides the cause.
  if (typeof uid !== 'string' || uid === '' || uid.length > 128)
    return bad('the AdmissionReview has no request.uid')
  if (typeof operation !== 'string') return bad('the AdmissionReview has no request.operation')
  if (operation === 'CREATE' && !isObject(object)) return bad('the AdmissionReview has no request.object')
  return {
    ok: true,
    request: {
      uid,
      namespace: typeof namespace === 'string' ? namespace : '',
      operation,
      resource: resourceName(resource),
      subResource: typeof subResource === 'string' ? subResource : '',
      dryRun: request.dryRun === true,
      object,
      oldObject,
    },
  }
}

function resourceName(value: unknown): string {
  if (!isObject(value) || typeof value.resource !== 'string') return ''
  return typeof value.group === 'string' && value.group !== ''
    ? `${value.group}/${value.resource}`
    : value.resource
}

/** Allowed, with a patch where there is one. */
export function allow(
  uid: string,
  answer: {
    readonly ops?: readonly PatchOp[]
    readonly warnings?: readonly string[]
    readonly audit: Readonly<Record<string, string>>
  },
): ReviewResponse {
  const ops = answer.ops ?? []
  const warnings = boundedWarnings(answer.warnings ?? [])
  return {
    uid,
    allowed: true,
    ...(ops.length > 0
      ? { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(ops)).toString('base64') }
      : {}),
    ...(warnings.length > 0 ? { warnings } : {}),
    auditAnnotations: answer.audit,
  }
}

/** Refused; the message is what `kubectl` and the ReplicaSet's FailedCreate event show. */
export function refuse(
  uid: string,
  status: { readonly code: number; readonly reason: string; readonly message: string },
  audit: Readonly<Record<string, string>>,
): ReviewResponse {
  return {
    uid,
    allowed: false,
    status: { ...status, message: `pod2iam: ${status.message}` },
    auditAnnotations: audit,
  }
}

/** The body to answer with. */
export function reviewBody(response: ReviewResponse): JsonObject {
  return { apiVersion: API_VERSION, kind: 'AdmissionReview', response: response as JsonObject }
}

/** The API server cuts a warning at 256 characters in some clients and all of them at 4096. */
function boundedWarnings(warnings: readonly string[]): string[] {
  return warnings.slice(0, 10).map((warning) => {
    const text = `pod2iam: ${warning}`
    return text.length > 400 ? `${text.slice(0, 399)}…` : text
  })
}

function bad(problem: string): ReviewResult {
  return { ok: false, problem }
}
