/**
 * Reads an admission review, `admission.k8s.io/v1`: only the parts that are judged, within bounds that follow from the cost
 * of parsing and judging.
 */

import { KEYS } from '../../common/keys.ts'
import { type Failed, failed } from '../../common/result.ts'
import { isObject, objectOf } from '../json.ts'
import { MIRROR_KEY } from '../pod/unsupported.ts'
import { type Outline, type ScanLimits, scan } from './scan.ts'

export type ReviewRequest = {
  readonly uid: string
  readonly namespace: string
  readonly operation: string
  /** Such as `pods` or `apps/deployments`, with the group unless it is the core group. */
  readonly resource: string
  /** Empty for the object itself. */
  readonly subResource: string
  readonly dryRun: boolean
  /** Both objects have only their names, our annotations and the names of service accounts. */
  readonly object: unknown
  readonly oldObject: unknown
  /** Returns the parts of the object that are judged. They are parsed with every call, since they need more memory than the body. */
  readonly whole: () => WholeObject
}

export type WholeObject =
  | { readonly isRead: true; readonly object: unknown }
  | {
      readonly isRead: false
      /** Its name and our annotations. */
      readonly head: unknown
      /** Completes a sentence that begins with "the pod ". */
      readonly excess: string
      /** Whether the body contains a text that begins with the prefix of our names. */
      readonly mayHoldReserved: boolean
    }

export type ReviewResult = { readonly ok: true; readonly request: ReviewRequest } | Failed

export const API_VERSION = 'admission.k8s.io/v1'
/** One more than a name may have, so that a name that was cut is invalid. */
const MAX_NAMESPACE = 64

/**
 * Bytes: the API server accepts 3 MiB from a client and adds defaults, and etcd stores 1.5 MiB. Parts: 32,768 variables
 * have 98,304 of them, and V8 takes 25 ms for the most expensive 120,000. Keys: a pod has about a hundred different fields, and
 * labels, annotations and node selectors add at most 4,000; each costs V8 a microsecond. Depth: no part of a pod is 20 deep.
 */
const OBJECT: ScanLimits = { bytes: 4 * 1024 * 1024, parts: 120_000, keys: 8_000, depth: 100 }
/** About twenty short texts; two objects with 256 KiB of annotations each still fit. */
const HEAD: ScanLimits = { bytes: 4 * 1024 * 1024, parts: 2_000, keys: 0, depth: 100 }

const REVIEW_LIMITS = { head: HEAD, object: OBJECT } as const
/** Why an object was not parsed. */
const EXCESS: Readonly<Record<keyof ScanLimits, string>> = {
  bytes: `has more than ${REVIEW_LIMITS.object.bytes / 1024 / 1024} MiB`,
  parts: `has more than ${REVIEW_LIMITS.object.parts} fields and list entries`,
  keys: `has more than ${REVIEW_LIMITS.object.keys} different keys`,
  depth: `is nested more than ${REVIEW_LIMITS.object.depth} deep`,
}
/** The beginning of all our names in JSON; the API server escapes none of these characters. */
const RESERVED = Buffer.from('"pod2iam-')

type Members = Readonly<Record<string, 'head' | 'object' | 'both' | Outline>>

const outline = (members: Members): Outline => ({ members: new Map(Object.entries(members)) })

/**
 * The head has the request's fields, those annotations that decide whether a review concerns us, and whose service account a pod has. The object has the parts of
 * a pod or a template that are judged. All other parts of a review are skipped.
 *
 * @param roleKeys the configured key of the role annotation, and those of other replicas
 */
export function reviewOutline(roleKeys: readonly string[]): Outline {
  const keys = [...Object.values(KEYS), ...roleKeys, MIRROR_KEY]
  const ours = outline(Object.fromEntries(keys.map((key) => [key, 'head'] as const)))
  const annotations = { ...ours, whole: true } as const
  const account = { serviceAccountName: 'head' } as const
  const template = outline({ metadata: outline({ annotations: ours }), spec: outline(account) })
  const spec = {
    ...outline({ template, jobTemplate: outline({ spec: outline({ template }) }), ...account }),
    whole: true,
  } as const
  const name = { name: 'both', generateName: 'both' } as const
  const metadata = outline({ ...name, deletionTimestamp: 'head', labels: 'object', annotations })
  const request = outline({
    ...{
      uid: 'head',
      namespace: 'head',
      operation: 'head',
      resource: 'head',
      subResource: 'head',
      dryRun: 'head',
    },
    object: outline({ metadata, spec }),
    oldObject: outline({ metadata: outline({ deletionTimestamp: 'head', annotations: ours }) }),
  })
  return outline({ apiVersion: 'head', kind: 'head', request })
}

/**
 * Reads a body, or says in one sentence why it is not a review that can be answered.
 *
 * @param outline what to read of it ({@link reviewOutline})
 */
export function readReview(body: Buffer, outline: Outline): ReviewResult {
  const scanned = scan(body, outline, REVIEW_LIMITS)
  if (!scanned.ok)
    return failed(
      scanned.problem === 'not-json'
        ? 'the body is not JSON, or not an object'
        : 'the request of the AdmissionReview is larger than any that an API server sends',
    )
  let review: unknown
  try {
    review = JSON.parse(scanned.head)
  } catch {
    return failed('the body is not JSON')
  }
  if (!isObject(review) || review.kind !== 'AdmissionReview' || review.apiVersion !== API_VERSION)
    return failed(`the body is not an AdmissionReview of ${API_VERSION}`)
  const { request } = review
  // Decided now, because the shared buffer contains another body when the object is read.
  const mayHoldReserved = scanned.object === undefined && body.includes(RESERVED)
  if (!isObject(request)) return failed('the AdmissionReview has no request')
  const { uid, namespace, operation, object, oldObject, resource, subResource } = request
  // Without a uid the API server would report "expected response.uid", which hides the cause.
  if (typeof uid !== 'string' || uid === '' || uid.length > 128)
    return failed('the AdmissionReview has no request.uid')
  if (typeof operation !== 'string') return failed('the AdmissionReview has no request.operation')
  if (operation === 'CREATE' && !isObject(object)) return failed('the AdmissionReview has no request.object')
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
      whole: () => wholeObject(scanned, object, mayHoldReserved),
    },
  }
}

function wholeObject(
  skimmed: { object: string | undefined; excess: keyof ScanLimits | undefined },
  head: unknown,
  mayHoldReserved: boolean,
): WholeObject {
  const { object: text, excess } = skimmed
  if (text === undefined) return { isRead: false, head, excess: EXCESS[excess ?? 'bytes'], mayHoldReserved }
  let review: unknown
  try {
    review = JSON.parse(text)
  } catch {
    // The head was JSON, so this was written by hand. The object stays undefined and is denied because it is not a pod.
  }
  return { isRead: true, object: objectOf(objectOf(review).request).object }
}

function resourceName(value: unknown): string {
  if (!isObject(value) || typeof value.resource !== 'string') return ''
  return typeof value.group === 'string' && value.group !== ''
    ? `${value.group}/${value.resource}`
    : value.resource
}
