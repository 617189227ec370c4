/**
 * Decides when authorities are added and removed. Every replica runs this on the same Secret without a leader: the first one to write wins.
 * An authority signs only after API servers have had time to learn it, and is removed only after everything that it signed has
 * expired: with a leaf of an authority that is not in the bundle every pod would be refused.
 *
 *   age of current      next                          previous
 *   < 2/3 of its life   –                             –
 *   ≥ 2/3               created, put into the bundle   –
 *                       ≥ 10 minutes, bundle seen: becomes current; the old one becomes previous, without its key
 *                       –                              removed a leaf's lifetime later
 */
import type { Certified } from './issue.ts'

/** Milliseconds. */
export type Lifetimes = {
  readonly authority: number
  readonly leaf: number
  /** How long a new authority is in the bundle before it signs. */
  readonly publishedFor: number
}

export const LIFETIMES: Lifetimes = {
  authority: 365 * 24 * 3600_000,
  leaf: 24 * 3600_000,
  publishedFor: 10 * 60_000,
}

export type AuthorityState = {
  readonly version: 1
  /** Signs leaves. */
  readonly current: Certified
  /** In the bundle since `publishedAt`, signs nothing yet. */
  readonly next?: Certified & { readonly publishedAt: number }
  /** In the bundle for the leaves that it has signed; its key is deleted. */
  readonly previous?: { readonly cert: string; readonly notAfter: number; readonly retiredAt: number }
}

/**
 * Returns the next state; the same object if nothing is due.
 *
 * @param state the content of the Secret, undefined if it has none
 * @param isPublished whether the bundle of `state` was seen in every live configuration
 * @param now milliseconds since 1970
 */
export async function advance(
  state: AuthorityState | undefined,
  isPublished: boolean,
  now: number,
  issue: () => Promise<Certified>,
  lifetimes: Lifetimes = LIFETIMES,
): Promise<AuthorityState> {
  // An expired authority (the cluster was off for a year) is of no use: begin again.
  if (state === undefined || state.current.notAfter <= now) return { version: 1, current: await issue() }
  const { current, next, previous } = state
  if (next !== undefined) {
    if (!isPublished || now - next.publishedAt < lifetimes.publishedFor) return state
    const { publishedAt: _, ...promoted } = next
    return {
      version: 1,
      current: promoted,
      previous: { cert: current.cert, notAfter: current.notAfter, retiredAt: now },
    }
  }
  if (previous !== undefined && now - previous.retiredAt > lifetimes.leaf) return { version: 1, current }
  return current.notAfter - now > lifetimes.authority / 3
    ? state
    : { ...state, next: { ...(await issue()), publishedAt: now } }
}

/** The `caBundle` in PEM: every authority that may have signed a valid leaf. */
export function bundleOf({ current, next, previous }: AuthorityState, now: number): string {
  return [current, next, previous]
    .filter((one) => one !== undefined)
    .filter(({ notAfter }) => notAfter > now)
    .map(({ cert }) => cert)
    .join('')
}

/** A leaf and the authority that signed it. */
export type Leaf = Certified & { readonly authority: string }

/** Whether a replica needs a new leaf: it has none, the authority has changed, or half of its life is over. */
export function leafIsDue(
  leaf: Leaf | undefined,
  state: AuthorityState,
  now: number,
  lifetimes: Lifetimes = LIFETIMES,
): boolean {
  if (leaf === undefined || leaf.authority !== state.current.cert) return true
  return leaf.notAfter - now <= lifetimes.leaf / 2
}
