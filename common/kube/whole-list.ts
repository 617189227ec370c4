/** Reads a whole collection, from the API server's cache where that suffices, else page by page. */

import { backoff } from '../backoff.ts'
import { pause } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { messageOf } from '../errors.ts'
import { TooLargeError } from '../http-request.ts'
import { KubeError, type Query } from './client.ts'
import { oversize } from './json-lines.ts'
import { type List, type ListPage, listPage } from './list-page.ts'

export type ListSource = Deps<'get'> & {
  readonly path: string
  readonly query: Query
  /** Most objects requested at once. */
  readonly page: number
  readonly metadataOnly: boolean
}

/** Called for each object, or for `oversize`. */
type Each = (object: unknown) => void

export const RETRY = { base: 500, cap: 30_000 }
/** The API server's answers if its cache cannot serve a list: too old (410), not fresh enough (504), or the parameters are not supported. */
const NOT_FROM_CACHE = [400, 410, 422, 504]
/** Of one page, before the whole list is begun again. */
const MAX_TRIES = 3

/**
 * All objects at once, out of the API server's cache.
 *
 * @param newest the resource version that the answer must not be older than
 * @returns the list's resource version; undefined if the cache cannot serve it
 */
export async function cachedList(
  { kube, path, query, metadataOnly }: ListSource,
  newest: string,
  each: Each,
): Promise<string | undefined> {
  const from = { resourceVersion: newest, resourceVersionMatch: 'NotOlderThan' }
  try {
    const reading = { each, whole: true, metadataOnly }
    const { items = [], metadata } = (await kube.get(path, { ...query, ...from }, reading)) as List
    for (const item of items) each(item)
    return metadata?.continue ? undefined : metadata?.resourceVersion || undefined
  } catch (error) {
    if (error instanceof TooLargeError) return undefined
    if (error instanceof KubeError && NOT_FROM_CACHE.includes(error.status)) return undefined
    throw error
  }
}

/** Reads all objects, page by page, until `signal` aborts. @returns the list's resource version */
export async function pagedList(source: ListSource, each: Each): Promise<string | undefined> {
  let limit = source.page
  let answer: ListPage | undefined
  do {
    const from: Query = answer?.next ? { continue: answer.next } : {}
    answer = await readPage(source, { ...source.query, ...from }, limit, each)
    if (source.signal.aborted) break
    for (const item of answer.items) each(item)
    if (answer.isOversize) each(oversize)
    // Smaller pages where there are large objects, and larger ones again behind them.
    limit = Math.min(source.page, answer.limit * 2)
  } while (answer.next)
  return answer.version
}

/** Reads a page. One that did not arrive completely is requested again, in a smaller size: it may be one of hundreds. */
async function readPage(
  source: ListSource,
  from: Query,
  limit: number,
  each: Each,
  tries = 1,
): Promise<ListPage> {
  const { kube, path, metadataOnly, clock, log, signal } = source
  try {
    return await listPage(kube, path, from, limit, { metadataOnly, each })
  } catch (error) {
    if (error instanceof KubeError || signal.aborted || tries >= MAX_TRIES || from.continue === undefined)
      throw error
    log.debug('a page of a list is asked for again', { path, error: messageOf(error) })
    await pause(clock, backoff(tries, RETRY), signal)
    return readPage(source, from, Math.max(1, Math.floor(limit / 2)), each, tries + 1)
  }
}
