/** What a hostile connection does, and what must not result from it. */
import type { Random } from './random.ts'

export type Step =
  /** One byte per character. */
  | { readonly send: string }
  /** Milliseconds. */
  | { readonly wait: number }
  /** The attacker closes its half of the connection (FIN). */
  | { readonly halfClose: true }
  /** The attacker resets the connection (RST). */
  | { readonly reset: true }
  /** The attacker reads nothing from here on. */
  | { readonly deaf: true }

export type Attack = {
  readonly steps: readonly Step[]
  /** Whether the sender may read the credentials: only then may they be in the answer. */
  readonly entitled: boolean
  /** No answer to it on the metadata port may be a 2xx. */
  readonly never2xx: boolean
  /** The maximum number of requests in the attack: the log has at most as many lines for it. */
  readonly requests: number
  /** How long to wait for an answer after the last step, milliseconds. */
  readonly linger: number
  /** Number of connections that do this at once. */
  readonly connections: number
}

/** What an attacker may know. */
export type Knowledge = {
  /** A valid session token: for requests that must be refused in spite of it. */
  readonly token: string
}

export type Attacks = Readonly<Record<string, (random: Random, knowledge: Knowledge) => Attack>>
