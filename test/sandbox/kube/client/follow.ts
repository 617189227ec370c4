/** List and watch that survives every failure, like client-go's reflector: for the sandbox's own parts. */

import type { KubeList, KubeObject } from '../objects/objects.ts'
import { isApiError } from '../objects/status.ts'
import type { ListOptions, WatchOptions } from './client-options.ts'
import type { Watch, WatchEvent } from './watch-client.ts'

/** The calls of a client that are needed to follow a collection. */
type ListAndWatch = {
  list<T extends KubeObject>(resource: string, options: ListOptions): Promise<KubeList<T>>
  watch<T extends KubeObject>(
    resource: string,
    options: WatchOptions,
    onEvent: (event: WatchEvent<T>) => void,
  ): Watch
}

export type FollowHandlers<T extends KubeObject> = {
  /** Added or changed; `previous` is the last known state. */
  readonly onChange: (object: T, previous: T | undefined) => void
  /** Deleted; the last known state. */
  readonly onDelete?: (object: T) => void
}

export type Follow = {
  /** Resolves after the handlers have received the first list. */
  readonly synced: Promise<void>
  close(): void
}

const RETRY_MS = 100

export function follow<T extends KubeObject>(
  client: ListAndWatch,
  resource: string,
  options: Pick<ListOptions, 'namespace' | 'labelSelector' | 'fieldSelector'>,
  handlers: FollowHandlers<T>,
): Follow {
  const known = new Map<string, T>()
  let closed = false
  let watch: Watch | undefined
  let wake: (() => void) | undefined
  let markSynced = () => {}
  const synced = new Promise<void>((resolve) => {
    markSynced = resolve
  })

  function changed(object: T): void {
    const uid = object.metadata.uid ?? ''
    const previous = known.get(uid)
    if (previous?.metadata.resourceVersion === object.metadata.resourceVersion) return
    known.set(uid, object)
    handlers.onChange(object, previous)
  }

  function deleted(object: T): void {
    if (known.delete(object.metadata.uid ?? '')) handlers.onDelete?.(object)
  }

  async function list(): Promise<string> {
    const { items, metadata } = await client.list<T>(resource, options)
    const uids = new Set(items.map((item) => item.metadata.uid ?? ''))
    for (const [uid, object] of [...known]) if (!uids.has(uid)) deleted(object)
    for (const item of items) changed(item)
    return metadata.resourceVersion
  }

  async function watchFrom(start: string): Promise<string> {
    let version = start
    watch = client.watch<T>(
      resource,
      { ...options, resourceVersion: start, allowWatchBookmarks: true },
      (event) => {
        version = event.object.metadata.resourceVersion ?? version
        if (closed || event.type === 'BOOKMARK') return
        if (event.type === 'DELETED') deleted(event.object)
        else changed(event.object)
      },
    )
    await watch.ended
    return version
  }

  async function run(): Promise<void> {
    let version: string | undefined
    while (!closed) {
      try {
        if (version === undefined) {
          version = await list()
          markSynced()
        }
        version = await watchFrom(version)
      } catch (error) {
        if (closed) return
        // Unless only the connection broke, events may have been missed: list again.
        version = undefined
        if (isApiError(error, 410)) continue
        await new Promise<void>((resolve) => {
          wake = resolve
          setTimeout(resolve, RETRY_MS)
        })
      }
    }
  }
  void run()
  return {
    synced,
    close() {
      closed = true
      watch?.close()
      wake?.()
    },
  }
}
