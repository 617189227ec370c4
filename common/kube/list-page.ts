import { TooLargeError } from '../http-request.ts'
import type { Kube, Query, ReadOptions } from './client.ts'

export type ListPage = {
  readonly items: readonly unknown[]
  /** The list's resource version. */
  readonly version: string | undefined
  /** Token of the next page; undefined after the last. */
  readonly next: string | undefined
  /** The number of objects that could be requested at once. */
  readonly limit: number
  /** Its only object is too large to be read. */
  readonly isOversize: boolean
}

type ListMeta = { readonly resourceVersion?: string; readonly continue?: string }
export type List = { readonly items?: readonly unknown[]; readonly metadata?: ListMeta }

/**
 * One page of a list, of at most `limit` objects. Where these are too large together, half as many are asked for, down to one;
 * where a single object is too large, the page comes without it. Where the client passes the objects to `reading.each`, the page has none.
 *
 * @throws what `kube.get` throws
 */
export async function listPage(
  kube: Pick<Kube, 'get'>,
  path: string,
  query: Query,
  limit: number,
  reading: ReadOptions = {},
): Promise<ListPage> {
  try {
    const { items = [], metadata } = (await kube.get(
      path,
      { ...query, limit: String(limit) },
      reading,
    )) as List
    return { items, limit, isOversize: false, ...cursor(metadata) }
  } catch (error) {
    if (!(error instanceof TooLargeError)) throw error
    if (limit > 1) return listPage(kube, path, query, Math.floor(limit / 2), reading)
    const metadata = metadataOf(error.head)
    if (metadata === undefined) throw error
    return { items: [], limit, isOversize: true, ...cursor(metadata) }
  }
}

const cursor = (metadata: ListMeta | undefined) => ({
  version: metadata?.resourceVersion,
  next: metadata?.continue || undefined,
})

/** The list's own metadata, which API servers write before the items: the fields of their Go types in that order. */
function metadataOf(head: string): ListMeta | undefined {
  const text = /^\{(?:"(?:kind|apiVersion)":"[^"]*",)*"metadata":(?<metadata>\{[^{}]*\}),"items":\[/.exec(
    head,
  )
  try {
    return JSON.parse(text?.groups?.metadata ?? '')
  } catch {
    return undefined
  }
}
