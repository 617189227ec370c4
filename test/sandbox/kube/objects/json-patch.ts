/**
 * JSON Patch and JSON Merge Patch as the API server applies them, for patches of clients and of webhooks: like
 * gopkg.in/evanphx/json-patch.v4, which is more lenient than RFC 6902 where the comments say so. Documents are never
 * changed in place. `../../real/differences.test.ts` compares this with a real API server.
 */
import { isObject, sameJson } from './objects.ts'

/** A well-formed patch that does not fit the document; the message is the library's. */
export class PatchError extends Error {
  override readonly name = 'PatchError'
}

type Map = Record<string, unknown>
type Container = Map | unknown[]
type Place = { readonly container: Container; readonly key: string }

const NUMBER = /^[+-]?\d+$/
const MISSING = 'missing value'
const INVALID_INDEX = 'invalid index referenced'

const decoded = (token: string) => token.replaceAll('~1', '/').replaceAll('~0', '~')

/** The container of the pointer's last token; anything before the first slash is ignored. */
function place(document: Container, pointer: string): Place | undefined {
  const [, ...tokens] = pointer.split('/').map(decoded)
  const key = tokens.pop()
  if (key === undefined) return undefined
  let container = document
  for (const token of tokens) {
    const next = Array.isArray(container) ? container[index(container, token) ?? -1] : own(container, token)
    if (!Array.isArray(next) && !isObject(next)) return undefined
    container = next
  }
  return { container, key }
}

const own = (map: Map, key: string): unknown => (Object.hasOwn(map, key) ? map[key] : undefined)

/** The index of an existing element: negative indices count from the end, and leading zeros do not matter. */
function index(list: readonly unknown[], key: string): number | undefined {
  if (!NUMBER.test(key)) return undefined
  const number = Number(key) < 0 ? Number(key) + list.length : Number(key)
  return number >= 0 && number < list.length ? number : undefined
}

function element(list: readonly unknown[], key: string, what: string): number {
  const found = index(list, key)
  if (found !== undefined) return found
  const why = NUMBER.test(key)
    ? `Unable to access invalid index: ${Number(key)}: ${INVALID_INDEX}`
    : `strconv.Atoi: parsing ${JSON.stringify(key)}: invalid syntax`
  throw new PatchError(`${what}: ${why}`)
}

/** A member that a map does not have is null. */
function get({ container, key }: Place, what: string): unknown {
  if (Array.isArray(container)) return container[element(container, key, what)]
  return own(container, key) ?? null
}

function put({ container, key }: Place, value: unknown, what: string): void {
  if (!Array.isArray(container)) container[key] = value
  else if (key === '-') container.push(value)
  // One more position than there are elements: the end.
  else container.splice(element([...container, null], key, what), 0, value)
}

function take({ container, key }: Place, what: string): void {
  if (Array.isArray(container)) container.splice(element(container, key, what), 1)
  else if (Object.hasOwn(container, key)) delete container[key]
  else throw new PatchError(`${what}: Unable to remove nonexistent key: ${key}: ${MISSING}`)
}

type Operation = {
  readonly op: unknown
  readonly path: string
  readonly from: string
  readonly value: unknown
}

function located(document: Container, pointer: string, op: string, what: string): Place {
  const found = place(document, pointer)
  if (found === undefined)
    throw new PatchError(`${op} operation does not apply: ${what} path: ${quoted(op, pointer)}: ${MISSING}`)
  return found
}

/** These two of the library's messages have quotes. */
const quoted = (op: string, pointer: string) => (op === 'add' || op === 'remove' ? `"${pointer}"` : pointer)

/** The document afterwards: a different one only if the whole document is replaced. */
function apply(document: Container, { op, path, from, value }: Operation): Container {
  switch (op) {
    case 'add':
      put(located(document, path, op, 'doc is missing'), value, `error in add for path: '${path}'`)
      return document
    case 'remove':
      take(located(document, path, op, 'doc is missing'), `error in remove for path: '${path}'`)
      return document
    case 'replace':
      return replace(document, path, value)
    case 'test':
      test(document, path, value)
      return document
    case 'copy':
    case 'move': {
      const source = located(document, from, op, 'doc is missing from')
      const what = `error in ${op} for path: '${source.key}'`
      const moved = get(source, what)
      if (op === 'move') take(source, what)
      put(located(document, path, op, 'doc is missing destination'), structuredClone(moved), what)
      return document
    }
    default:
      throw new PatchError(`Unexpected kind: ${typeof op === 'string' ? op : 'unknown'}`)
  }
}

/** A map need not have the member. */
function replace(document: Container, path: string, value: unknown): Container {
  if (path === '') {
    if (Array.isArray(value) || isObject(value)) return value
    throw new PatchError('replace operation value must be object or array')
  }
  const { container, key } = located(document, path, 'replace', 'doc is missing')
  if (!Array.isArray(container)) container[key] = value
  else {
    const what = `replace operation does not apply: doc is missing key: ${path}`
    container[element(container, key, what)] = value
  }
  return document
}

/** A missing member equals null. */
function test(document: Container, path: string, value: unknown): void {
  const actual =
    path === ''
      ? document
      : get(located(document, path, 'test', 'is missing'), `error in test for path: '${path}'`)
  if (!sameJson(actual, value)) throw new PatchError(`testing value ${path} failed: test failed`)
}

/**
 * Applies a JSON Patch; all operations or none.
 *
 * @throws PatchError when an operation does not apply or a `test` fails
 * @throws TypeError when the patch is no list of objects
 */
export function jsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch) || !patch.every(isObject))
    throw new TypeError('json: cannot unmarshal object into Go value of type jsonpatch.Patch')
  let result = structuredClone(document) as Container
  for (const operation of patch) {
    const { op, path, from, value = null } = operation
    const needed = op === 'move' || op === 'copy' ? { from, path } : { path }
    for (const [name, text] of Object.entries(needed))
      if (typeof text !== 'string')
        throw new PatchError(`${op} operation failed to decode ${name}: ${MISSING}`)
    result = apply(result, { op, path: String(path), from: String(from), value: structuredClone(value) })
  }
  return result
}

/** Applies a JSON Merge Patch (RFC 7396): null removes, arrays are replaced whole. */
export function mergePatch(document: unknown, patch: unknown): unknown {
  if (!isObject(document)) return withoutNulls(patch)
  if (!isObject(patch)) return structuredClone(patch)
  const result: Map = { ...document }
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}

/** The library removes them from objects in lists as well. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (!isObject(value)) return structuredClone(value)
  const kept = Object.entries(value).filter(([, member]) => member !== null)
  return Object.fromEntries(kept.map(([key, member]) => [key, withoutNulls(member)]))
}
