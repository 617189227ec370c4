/**
 * IMDSv2 session tokens without a table: `version(1) expiry(4) nonce(3) HMAC-SHA256(32)`, base64url with padding:
 * 56 characters, as EC2's. They outlive a restart because only the key must (one 401 is fatal for a call in JS v3,
 * botocore, the CLI and Go v1), and they are worthless in another pod because every pod has a key of its own.
 */

import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { BoundedMap } from '../../common/bounded-map.ts'
import type { Refusal } from '../health/refusals.ts'

/** EC2's bounds, seconds (instance-metadata-v2-how-it-works). */
export const MAX_TOKEN_TTL = 21_600
const VERSION_BYTE = 1
const SIGNED = 8
/** How many tokens are remembered; any other is judged by the key each time. */
const MAX_LATEST = 16
const LENGTH = SIGNED + 32
// The last character carries two bits: only with the other four at zero is it the one spelling of the token.
const FORM = /^[A-Za-z0-9_-]{53}[AQgw]==$/
/** Not `Buffer.from(text)`: that comes out of Node's pool, whose slabs live until a full collection. */
const scratch = Buffer.alloc(LENGTH)

/** The lifetime that a client requests, seconds, or undefined where EC2 answers 400: missing, not a number, 0, over six hours. */
export function parseTtl(header: string | undefined): number | undefined {
  // A sign and leading zeros pass in EC2's published mock, as in most parsers of numbers.
  if (header === undefined || !/^\+?\d+$/.test(header)) return undefined
  const seconds = Number(header)
  return seconds >= 1 && seconds <= MAX_TOKEN_TTL ? seconds : undefined
}

/** Issues and verifies the tokens of a pod with its key, 32 bytes. */
export class SessionTokens {
  /**
   * HMAC-SHA256 up to where the key ends; each token begins with a copy. Not of node:crypto, which costs 1.1 MiB in every
   * pod (`sidecar/README.md`). Made with the first token: the process listens half a millisecond earlier.
   */
  #keyed: ReturnType<typeof hmac.create> | undefined
  readonly #key: Uint8Array
  /**
   * When the latest tokens end, seconds since 1970: a client uses one for all that it asks. It is looked up by V8's seeded
   * hash of the whole text, so that the time it takes reveals nothing about a token's first characters.
   */
  readonly #latest = new BoundedMap<string, number>(MAX_LATEST)

  constructor(key: Uint8Array) {
    this.#key = key
  }

  /**
   * A new token.
   *
   * @param ttl lifetime in seconds, 1 to {@link MAX_TOKEN_TTL}
   * @param now wall clock, milliseconds
   */
  issue(ttl: number, now: number): string {
    const bytes = Buffer.alloc(LENGTH)
    const end = Math.floor(now / 1000) + ttl
    bytes[0] = VERSION_BYTE
    bytes.writeUInt32BE(end, 1)
    // Only makes tokens of the same second different; what protects them is the key.
    bytes.writeUIntBE(Math.floor(Math.random() * 0x1000000), 5, 3)
    bytes.set(this.#mac(bytes.subarray(0, SIGNED)), SIGNED)
    const token = `${bytes.toString('base64url')}==`
    this.#latest.set(token, end)
    return token
  }

  /**
   * For how many seconds a token is still valid (1 to {@link MAX_TOKEN_TTL}), or undefined if it is not ours, was altered, or has expired.
   *
   * @param now wall clock, milliseconds
   */
  lifetime(token: string, now: number): number | undefined {
    const left = (this.#latest.get(token) ?? this.#verified(token) ?? 0) - Math.floor(now / 1000)
    return left > 0 ? Math.min(left, MAX_TOKEN_TTL) : undefined
  }

  #mac(message: Uint8Array): Uint8Array {
    this.#keyed ??= hmac.create(sha256, this.#key)
    return this.#keyed.clone().update(message).digest()
  }

  /** When a token ends, seconds since 1970, or undefined where it is not ours. */
  #verified(token: string): number | undefined {
    if (!FORM.test(token)) return undefined
    scratch.write(token, 'base64url')
    if (scratch[0] !== VERSION_BYTE) return undefined
    if (!equal(this.#mac(scratch.subarray(0, SIGNED)), scratch.subarray(SIGNED))) return undefined
    const end = scratch.readUInt32BE(1)
    this.#latest.set(token, end)
    return end
  }
}

type Session =
  /** `lifetime`: for how many seconds the token is still valid; undefined without a token (IMDSv1). */
  | { readonly ok: true; readonly lifetime: number | undefined }
  | { readonly ok: false; readonly refusal: Refusal }

/**
 * Judges the session token of a GET: none is fine where IMDSv1 is allowed, a wrong one never is.
 *
 * @param token the header's value
 * @param rules the pod's tokens, whether one is required, and the wall clock in milliseconds
 */
export function judgeSession(
  token: string | undefined,
  rules: {
    readonly tokens: SessionTokens
    readonly imdsTokens: 'optional' | 'required'
    readonly now: number
  },
): Session {
  if (token === undefined)
    return rules.imdsTokens === 'optional'
      ? { ok: true, lifetime: undefined }
      : { ok: false, refusal: 'token-missing' }
  const lifetime = rules.tokens.lifetime(token, rules.now)
  return lifetime === undefined ? { ok: false, refusal: 'token-invalid' } : { ok: true, lifetime }
}

/** Compares bytes in a time that does not reveal where they differ. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length
  for (let index = 0; index < a.length; index++) difference |= (a[index] ?? 0) ^ (b[index] ?? 0)
  return difference === 0
}
