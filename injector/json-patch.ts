import type { Json } from './json.ts'

/**
 * One operation of a JSON Patch (RFC 6902). Only what is ours is removed or replaced: what other webhooks and people wrote stays
 * unchanged.
 */
export type PatchOp =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string }

/** A JSON pointer (RFC 6901); annotation keys contain `/`, so tokens are escaped. */
export function pointer(...tokens: readonly (string | number)[]): string {
  return tokens.map((token) => `/${String(token).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

export function add(path: string, value: Json): PatchOp {
  return { op: 'add', path, value }
}

export function replace(path: string, value: Json): PatchOp {
  return { op: 'replace', path, value }
}

export function remove(path: string): PatchOp {
  return { op: 'remove', path }
}
