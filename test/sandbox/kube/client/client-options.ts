/** Options of the test client's calls. */

export type ListOptions = {
  readonly namespace?: string
  readonly labelSelector?: string
  readonly fieldSelector?: string
  readonly limit?: number
  readonly continue?: string
  readonly resourceVersion?: string
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan'
}

export type WatchOptions = ListOptions & {
  readonly allowWatchBookmarks?: boolean
  readonly sendInitialEvents?: boolean
  readonly timeoutSeconds?: number
}

export type WriteOptions = {
  readonly dryRun?: boolean
  /** Called with the text of every `Warning` header. */
  readonly onWarning?: (text: string) => void
}

export type PatchOptions = WriteOptions & {
  readonly type?: 'merge' | 'json' | 'strategic'
  readonly subresource?: string
}

export type DeleteOptions = {
  readonly gracePeriodSeconds?: number
  readonly uid?: string
}

export type TokenOptions = {
  readonly audiences?: readonly string[]
  readonly expirationSeconds?: number
  /** Binds the token to this pod; without it the token has no pod and node claims. */
  readonly pod?: { readonly name: string; readonly uid: string }
}
