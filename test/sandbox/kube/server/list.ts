/** GET on a collection: selectors, resourceVersion semantics, paging. */
import type { KubeList, KubeObject } from '../objects/objects.ts'
import { apiVersionOf, keyOf } from '../objects/resources.ts'
import { fieldSelector, labelSelector, type Match } from '../objects/selectors.ts'
import { badRequest, expired, failure } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { View } from './view.ts'

/** The combined label and field selector of a query; it is evaluated on the objects as they are shown. */
export function selection({ resource, show }: View, query: URLSearchParams): Match<KubeObject> {
  const labels = query.get('labelSelector')
  const fields = query.get('fieldSelector')
  const byLabel = labels ? labelSelector(labels) : () => true
  const byField = fields ? fieldSelector(fields, keyOf(resource)).matches : () => true
  return (object) => byLabel(object) && byField(show(object))
}

/** A version in a query; undefined when absent. */
export function parseVersion(text: string | null): number | undefined {
  if (text === null || text === '') return undefined
  if (!/^\d+$/.test(text))
    throw badRequest(`Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`)
  return Number(text)
}

function checkVersion(store: Store, query: URLSearchParams): void {
  const version = parseVersion(query.get('resourceVersion'))
  const match = query.get('resourceVersionMatch')
  if (match !== null && match !== 'Exact' && match !== 'NotOlderThan')
    throw badRequest(
      `resourceVersionMatch: Unsupported value: "${match}": supported values: "Exact", "NotOlderThan"`,
    )
  if (match !== null && version === undefined)
    throw badRequest(
      'resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
    )
  if (version !== undefined && version > store.version)
    throw failure(504, 'Timeout', `Too large resource version: ${version}, current: ${store.version}`, {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    })
  if (match === 'Exact' && version !== undefined && version < store.compactedVersion)
    throw expired('The resourceVersion for the provided list is too old.')
}

type Continue = { v: 'meta.k8s.io/v1'; rv: number; start: number; id: string }

function decodeContinue(text: string): Continue {
  try {
    const parsed = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Continue
    if (typeof parsed.start === 'number' && typeof parsed.id === 'string') return parsed
  } catch {
    // falls through: not one of our tokens
  }
  throw badRequest('continue key is not valid: illegal base64 data or unknown format')
}

const TOO_OLD =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.'

function encodeContinue(value: Continue): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/**
 * Answers a list.
 *
 * @throws ApiError 400 for a bad query, 410 for a continue token or exact version that was compacted away
 */
export function list(
  store: Store,
  view: View,
  namespace: string | undefined,
  query: URLSearchParams,
): KubeList {
  const { resource, stored } = view
  const matches = selection(view, query)
  const limit = Number(query.get('limit') ?? 0)
  if (!Number.isInteger(limit) || limit < 0)
    throw badRequest('limit: Invalid value: must be a positive integer')
  const token = query.get('continue')
  let objects: readonly KubeObject[]
  let at: Continue
  if (token === null || token === '') {
    checkVersion(store, query)
    objects = store.list(stored, namespace).filter(matches)
    at = {
      v: 'meta.k8s.io/v1',
      rv: store.version,
      start: 0,
      id: `${keyOf(resource)} ${store.version} ${query}`,
    }
    if (limit > 0) store.saveSnapshot(at.id, objects)
  } else {
    at = decodeContinue(token)
    const saved = store.snapshot(at.id)
    if (saved === undefined) throw expired(TOO_OLD)
    objects = saved
  }
  const end = limit > 0 ? at.start + limit : objects.length
  const remaining = objects.length - end
  const selective = query.has('labelSelector') || query.has('fieldSelector')
  return {
    kind: `${resource.kind}List`,
    apiVersion: apiVersionOf(resource),
    metadata: {
      resourceVersion: String(at.rv),
      ...(remaining > 0 ? { continue: encodeContinue({ ...at, start: end }) } : {}),
      // The server cannot know how many of the remaining objects a selector would select.
      ...(remaining > 0 && !selective ? { remainingItemCount: remaining } : {}),
    },
    items: objects.slice(at.start, end).map(view.show),
  }
}
