/** The table of sessions: one entry for each cache key, with the grants that share it. */
import { Problem } from '../../../common/protocol.ts'
import type { WebIdentityToken } from '../authenticate/web-identity.ts'
import type { SessionRequest } from '../authorize/entitlement.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import type { Issued, StoredSession } from './lifetime.ts'
import type { Turn } from './sts-queue.ts'

/** A pod's entitlement to a session, as it was when the pod requested it. */
export type Grant = {
  readonly pod: { readonly uid: string; readonly namespace: string; readonly name: string }
  readonly request: SessionRequest
}

export type Entry = {
  readonly key: string
  readonly request: SessionRequest
  /** By pod uid; several under `--session-scope=role`. */
  readonly grants: Map<string, Grant>
  session?: StoredSession
  /** The pod's latest, where its session is by web identity. */
  webIdentity?: WebIdentityToken
  /** `until` is a time of the monotonic clock. */
  failure?: { readonly problem: Problem; readonly until: number; readonly count: number }
  flight?: Promise<Issued>
  turn?: Turn
  /** Whether the session was requested since it was issued; one that is not requested is not renewed. */
  wanted: boolean
  /** Whether the session had expired and had been requested when the timer last fired. */
  remembered: boolean
  dropped: boolean
  cancelTimer: () => void
}

const MAX_ENTRIES = 4096

/** Two grants share a session only if the requests to STS are equal and, by default, the pod is the same. */
export function sessionKey({ pod, request }: Grant, scope: 'pod' | 'role'): string {
  const { roleArn, externalId = null, sessionName, tags, durationSeconds, policyArns } = request
  const { sourceIdentity = null, webIdentity } = request
  const owner = scope === 'pod' ? pod.uid : null
  const marks = [sessionName, tags, sourceIdentity, webIdentity?.subject ?? null]
  return JSON.stringify([owner, roleArn, externalId, policyArns, durationSeconds, ...marks])
}

export function grantOf(
  { uid, namespace, name }: Pick<PodRecord, 'uid' | 'namespace' | 'name'>,
  { request }: { readonly request: SessionRequest },
): Grant {
  return { pod: { uid, namespace, name }, request }
}

export class Entries {
  readonly #scope: 'pod' | 'role'
  readonly #isStillValid: (grant: Grant) => boolean
  readonly #byKey = new Map<string, Entry>()
  /** Those that were not requested yet. */
  readonly unrequested = new Set<Entry>()

  /** @param isStillValid whether a grant is still valid with the current state of pod, namespace and node */
  constructor(scope: 'pod' | 'role', isStillValid: (grant: Grant) => boolean) {
    this.#scope = scope
    this.#isStillValid = isStillValid
  }

  get size(): number {
    return this.#byKey.size
  }

  /** A copy, because entries may be dropped in the meantime. */
  all(): readonly Entry[] {
    return [...this.#byKey.values()]
  }

  /** Whether a grant has no entry yet, and one more is allowed. */
  hasRoomFor(grant: Grant): boolean {
    return this.size < MAX_ENTRIES && !this.#byKey.has(sessionKey(grant, this.#scope))
  }

  /** The entry that a grant shares from now on, created if there is none. @throws {Problem} `busy` if the limit is reached */
  join(grant: Grant): Entry {
    const key = sessionKey(grant, this.#scope)
    const entry = this.#byKey.get(key) ?? this.#make(key, grant.request)
    entry.grants.set(grant.pod.uid, grant)
    return entry
  }

  #make(key: string, request: SessionRequest): Entry {
    if (this.size >= MAX_ENTRIES)
      throw new Problem('busy', `this node’s broker already has ${MAX_ENTRIES} sessions; retry`, {
        retryAfter: 30,
      })
    const flags = { wanted: false, remembered: false, dropped: false }
    const entry: Entry = { key, request, grants: new Map(), ...flags, cancelTimer: () => {} }
    this.#byKey.set(key, entry)
    return entry
  }

  drop(entry: Entry): void {
    entry.dropped = true
    entry.cancelTimer()
    this.unrequested.delete(entry)
    this.#byKey.delete(entry.key)
  }

  /** Removes the grants that are no longer valid; true if none is left, and the entry was dropped. */
  prune(entry: Entry): boolean {
    for (const [uid, grant] of entry.grants) if (!this.#isStillValid(grant)) entry.grants.delete(uid)
    if (entry.grants.size > 0) return false
    this.drop(entry)
    return true
  }

  /** Removes a pod's grants, and the entries that no other pod shares. */
  dropPod(uid: string): void {
    for (const entry of this.all()) if (entry.grants.delete(uid) && entry.grants.size === 0) this.drop(entry)
  }

  /** Prunes the entries that a change concerns. */
  review(concerns: (grant: Grant) => boolean): void {
    for (const entry of this.all()) if ([...entry.grants.values()].some(concerns)) this.prune(entry)
  }
}
