/** JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) on plain JSON. Documents are never changed in place. */
import { isObject, sameJson } from './objects.ts'

export type Operation = {
  readonly op: string
  readonly path: string
  readonly from?: string
  readonly value?: unknown
}

/** A well-formed patch that does not fit the document; the message is that of evanphx/json-patch, which Kubernetes uses. */
export class PatchError extends Error {
  override readonly name = 'PatchError'
}

/** Tokens of a JSON pointer (RFC 6901): `/a~1b/0` → `['a/b', '0']`. */
export function pointerTokens(pointer: string): string[] {
  if (pointer === '') return []
  if (!pointer.startsWith('/')) throw new PatchError(`Missing leading slash in pointer "${pointer}"`)
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

const INDEX = /^(0|[1-9]\d*)$/

function missing(op: string, path: string): PatchError {
  return new PatchError(`${op} operation does not apply: doc is missing path: ${path}: missing value`)
}

function child(parent: unknown, token: string): unknown {
  if (Array.isArray(parent)) return INDEX.test(token) ? parent[Number(token)] : undefined
  return isObject(parent) && Object.hasOwn(parent, token) ? parent[token] : undefined
}

function read(document: unknown, path: string, op: string): unknown {
  let at = document
  for (const token of pointerTokens(path)) {
    at = child(at, token)
    if (at === undefined) throw missing(op, path)
  }
  return at
}

/** Calls `change` with a copy of the container that holds the pointer's last token. */
function edit(
  document: unknown,
  tokens: readonly string[],
  fail: () => PatchError,
  change: (container: unknown[] | Record<string, unknown>, last: string) => void,
): unknown {
  const [token, ...rest] = tokens
  if (token === undefined) throw fail()
  if (!Array.isArray(document) && !isObject(document)) throw fail()
  const copy = Array.isArray(document) ? [...document] : { ...document }
  if (rest.length === 0) change(copy, token)
  else {
    const next = child(copy, token)
    if (next === undefined) throw fail()
    const edited = edit(next, rest, fail, change)
    if (Array.isArray(copy)) copy[Number(token)] = edited
    else copy[token] = edited
  }
  return copy
}

function add(document: unknown, path: string, value: unknown, op = 'add'): unknown {
  const tokens = pointerTokens(path)
  if (tokens.length === 0) return value
  return edit(
    document,
    tokens,
    () => missing(op, path),
    (container, last) => {
      if (!Array.isArray(container)) container[last] = value
      else if (last === '-') container.push(value)
      else if (INDEX.test(last) && Number(last) <= container.length) container.splice(Number(last), 0, value)
      else
        throw new PatchError(`${op} operation does not apply: doc is missing path: "${path}": invalid index`)
    },
  )
}

function remove(document: unknown, path: string, op = 'remove'): unknown {
  const fail = () => missing(op, path)
  return edit(document, pointerTokens(path), fail, (container, last) => {
    if (child(container, last) === undefined) throw fail()
    if (Array.isArray(container)) container.splice(Number(last), 1)
    else delete container[last]
  })
}

function replace(document: unknown, path: string, value: unknown): unknown {
  const tokens = pointerTokens(path)
  if (tokens.length === 0) return value
  const fail = () => missing('replace', path)
  return edit(document, tokens, fail, (container, last) => {
    if (child(container, last) === undefined) throw fail()
    if (Array.isArray(container)) container[Number(last)] = value
    else container[last] = value
  })
}

function test(document: unknown, { path, value = null }: Operation): void {
  let actual: unknown = document
  for (const token of pointerTokens(path)) actual = child(actual, token)
  // A missing member equals null in evanphx/json-patch.
  if (!sameJson(actual ?? null, value)) throw new PatchError(`testing value ${path} failed: test failed`)
}

function apply(document: unknown, operation: Operation): unknown {
  const { op, path, from, value } = operation
  switch (op) {
    case 'add':
      return add(document, path, structuredClone(value))
    case 'remove':
      return remove(document, path)
    case 'replace':
      return replace(document, path, structuredClone(value))
    case 'test':
      test(document, operation)
      return document
    case 'copy':
      return add(document, path, structuredClone(read(document, from ?? '', 'copy')), 'copy')
    case 'move': {
      if (from === undefined || path.startsWith(`${from}/`))
        throw new PatchError(`move operation does not apply: cannot move "${from}" into itself`)
      const value = read(document, from, 'move')
      return from === path ? document : add(remove(document, from, 'move'), path, value, 'move')
    }
    default:
      throw new PatchError(`Unexpected kind: ${op}`)
  }
}

/**
 * Applies a JSON Patch; all operations or none.
 *
 * @throws PatchError when an operation does not apply or a `test` fails
 * @throws TypeError when the patch itself is malformed
 */
export function jsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw new TypeError('a JSON Patch is an array of operations')
  let result = document
  for (const operation of patch) {
    if (!isObject(operation) || typeof operation.op !== 'string' || typeof operation.path !== 'string')
      throw new TypeError('an operation of a JSON Patch has "op" and "path"')
    const { op, path, from, value } = operation
    if ((op === 'add' || op === 'replace') && !Object.hasOwn(operation, 'value'))
      throw new PatchError(`${op} operation does not apply: missing value`)
    result = apply(result, { op, path, value, ...(typeof from === 'string' ? { from } : {}) })
  }
  return result
}

/** Applies a JSON Merge Patch (RFC 7396): null removes, arrays are replaced whole. */
export function mergePatch(document: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return structuredClone(patch)
  const result: Record<string, unknown> = isObject(document) ? { ...document } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}
