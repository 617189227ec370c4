/** The broker's allow-listed snapshot of instance metadata: read, checked, kept fresh. */

import { backoff, spread } from '../../common/backoff.ts'
import type { SteadyClock } from '../../common/clock.ts'
import type { Logger } from '../../common/log.ts'
import { metadataTree } from '../imds/tree.ts'
import { repeat } from '../repeat.ts'
import type { Reply } from './client.ts'

const SECOND = 1000
/** How long a snapshot is valid if the broker does not say (`Cache-Control: max-age`): most of it never changes. */
const DEFAULT_AGE = 300 * SECOND
const [MIN_AGE, MAX_AGE] = [5 * SECOND, 3600 * SECOND]
const RETRY = { base: SECOND / 2, cap: 60 * SECOND }
const MAX_ENTRIES = 1000
const MAX_KEY = 512
const MAX_VALUE = 16 * 1024

/**
 * Reads a snapshot (`MetadataBody` of common/protocol.ts); values may also be objects, which are printed as EC2
 * prints its identity document. Entries that make no sense are left out; undefined when it is no snapshot at all.
 */
function parseSnapshot(body: string): ReadonlyMap<string, string> | undefined {
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const snapshot = new Map<string, string>()
  for (const [key, entry] of Object.entries(value).slice(0, MAX_ENTRIES)) {
    const path = key.replace(/\/{2,}/g, '/').replace(/^\/?(?:meta-data\/)?|\/$/g, '')
    const text = typeof entry === 'string' ? entry : printed(entry)
    if (isKey(path) && text !== undefined && text.length <= MAX_VALUE) snapshot.set(path, text)
  }
  return snapshot
}

/** The length is compared and not written as `{1,512}`: V8 unrolls that into 160 KiB of machine code. */
function isKey(path: string): boolean {
  return path.length <= MAX_KEY && /^[\x21-\x7e]+$/.test(path)
}

function printed(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  return JSON.stringify(value, null, 2).replace(/^( +"(?:[^"\\]|\\.)*"):/gm, '$1 :')
}

/** How long a snapshot is valid according to the broker, milliseconds, within bounds: short with `events/` and `spot/`. */
function snapshotAge(cacheControl: string | undefined): number {
  const seconds = /(?:^|[\s,])max-age=(\d{1,9})/i.exec(cacheControl ?? '')?.[1]
  if (seconds === undefined) return DEFAULT_AGE
  return Math.min(Math.max(Number(seconds) * SECOND, MIN_AGE), MAX_AGE)
}

type SnapshotDeps = {
  readonly clock: SteadyClock
  readonly log: Logger
  /** From 0 to 1. */
  readonly random: () => number
}

/** An empty snapshot, to be started. */
export function snapshotOf({ clock, log, random }: SnapshotDeps) {
  let tree = metadataTree(new Map())
  let asked = false
  let failures = 0
  const take = (reply: Reply): number => {
    asked = true
    const answered = reply.kind === 'answer' && reply.status === 200
    const snapshot = answered ? parseSnapshot(reply.body) : undefined
    if (answered && snapshot !== undefined) {
      failures = 0
      tree = metadataTree(snapshot)
      log.debug('instance metadata refreshed', { entries: snapshot.size })
      return spread(snapshotAge(reply.cacheControl), random)
    }
    failures++
    const why = reply.kind === 'failure' ? reply.code : answered ? 'not a snapshot' : `status ${reply.status}`
    if (failures === 1) log.warn('no instance metadata from the broker, trying again', { why })
    return backoff(failures, RETRY, random)
  }
  return {
    /** The tree of the last good snapshot, empty before the first. */
    tree: () => tree,
    /** Whether the broker was asked at least once, with whatever result. */
    asked: () => asked,
    /** Starts keeping it fresh; `ask` never rejects. On failure the last good one stays. */
    start: (ask: () => Promise<Reply>) => repeat(clock, async () => take(await ask())),
  }
}
