/** What a hostile connection does, and what must not come of it. */
import type { Random } from './random.ts'

export type Step =
  /** One byte a character. */
  | { readonly send: string }
  /** Milliseconds. */
  | { readonly wait: number }
  /** Our half is closed (FIN). */
  | { readonly halfClose: true }
  /** The connection is reset (RST). */
  | { readonly reset: true }
  /** From here on nothing is read. */
  | { readonly deaf: true }

export type Attack = {
  readonly steps: readonly Step[]
  /** Whether the sender may read the credentials: only then may they be in the answer. */
  readonly entitled: boolean
  /** No answer to it on the metadata port may be a 2xx. */
  readonly never2xx: boolean
  /** At most so many requests are in it: the log has at most as many lines for it. */
  readonly requests: number
  /** Longest time that the answer is waited for after the last step, milliseconds. */
  readonly linger: number
  /** Connections that do this at once. */
  readonly connections: number
}

/** What an attack may know. */
export type Knowledge = {
  /** A session token that is good: for requests that must be refused in spite of it. */
  readonly token: string
}

export type Attacks = Readonly<Record<string, (random: Random, knowledge: Knowledge) => Attack>>
