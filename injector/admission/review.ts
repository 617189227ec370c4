/** Reads an admission review, `admission.k8s.io/v1`. */
import { isObject } from '../json.ts'
import { REVIEW_LIMITS } from './review-outline.ts'
import { type Outline, type SkimLimits, skim } from './skim.ts'

export type ReviewRequest = {
  readonly uid: string
  readonly namespace: string
  readonly operation: string
  /** As in `pods` or `apps/deployments`, with the group where it is not the core one. */
  readonly resource: string
  /** Empty for the object itself. */
  readonly subResource: string
  readonly dryRun: boolean
  /** Of both objects no more than their names and our annotations. */
  readonly object: unknown
  readonly oldObject: unknown
  /** The object as far as it is judged, parsed anew with every call: it costs more memory than its body. */
  readonly whole: () => WholeObject
}

export type WholeObject =
  | { readonly isRead: true; readonly object: unknown }
  | {
      readonly isRead: false
      /** Its name and our annotations. */
      readonly head: unknown
      /** Completes "the pod ". */
      readonly excess: string
      /** Whether the body has a text that begins as our names do. */
      readonly mayHoldReserved: boolean
    }

export type ReviewResult =
  | { readonly ok: true; readonly request: ReviewRequest }
  | { readonly ok: false; readonly problem: string }

export const API_VERSION = 'admission.k8s.io/v1'
/** One more than a name may have, so that what is cut is none. */
const MAX_NAMESPACE = 64

/** What a text of the object that was not parsed has too much of. */
const EXCESS: Readonly<Record<keyof SkimLimits, string>> = {
  bytes: `has more than ${REVIEW_LIMITS.object.bytes / 1024 / 1024} MiB`,
  parts: `has more than ${REVIEW_LIMITS.object.parts} fields and list entries`,
  keys: `has more than ${REVIEW_LIMITS.object.keys} different keys`,
  depth: `is nested more than ${REVIEW_LIMITS.object.depth} deep`,
}
/** How every name of ours stands in JSON; the API server escapes none of these characters. */
const RESERVED = Buffer.from('"pod2iam-')

/**
 * Reads a body, or says in one sentence why it is no review that could be answered.
 *
 * @param outline of what is read of it, `reviewOutline`
 */
export function readReview(body: Buffer, outline: Outline): ReviewResult {
  const skimmed = skim(body, outline, REVIEW_LIMITS)
  if (!skimmed.ok)
    return bad(
      skimmed.problem === 'not-json'
        ? 'the body is not JSON, or not an object'
        : 'the AdmissionReview has more in its request than any',
    )
  let review: unknown
  try {
    review = JSON.parse(skimmed.head)
  } catch {
    return bad('the body is not JSON')
  }
  if (!isObject(review) || review.kind !== 'AdmissionReview' || review.apiVersion !== API_VERSION)
    return bad(`the body is not an AdmissionReview of ${API_VERSION}`)
  const { request } = review
  // The bytes are somebody else's when the object is asked for.
  const mayHoldReserved = skimmed.object === undefined && body.includes(RESERVED)
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
      namespace: typeof namespace === 'string' ? namespace.slice(0, MAX_NAMESPACE) : '',
      operation,
      resource: resourceName(resource),
      subResource: typeof subResource === 'string' ? subResource : '',
      dryRun: request.dryRun === true,
      object,
      oldObject,
      whole: () => wholeObject(skimmed, object, mayHoldReserved),
    },
  }
}

function wholeObject(
  skimmed: { object: string | undefined; excess: keyof SkimLimits | undefined },
  head: unknown,
  mayHoldReserved: boolean,
): WholeObject {
  const { object: text, excess } = skimmed
  if (text === undefined) return { isRead: false, head, excess: EXCESS[excess ?? 'bytes'], mayHoldReserved }
  let review: unknown
  try {
    review = JSON.parse(text)
  } catch {
    // Its head was JSON: somebody wrote this by hand, and gets told that it is no pod.
  }
  const request = isObject(review) && isObject(review.request) ? review.request : {}
  return { isRead: true, object: request.object }
}

function resourceName(value: unknown): string {
  if (!isObject(value) || typeof value.resource !== 'string') return ''
  return typeof value.group === 'string' && value.group !== ''
    ? `${value.group}/${value.resource}`
    : value.resource
}

function bad(problem: string): ReviewResult {
  return { ok: false, problem }
}
