/**
 * IMDSv2 session tokens without a table: `version(1) expiry(4) nonce(3) HMAC-SHA256(32)`, base64url with padding:
 * 56 characters, as EC2's. They outlive a restart because only the key must (one 401 is fatal for a call in JS v3,
 * botocore, the CLI and Go v1), and they are worthless in another pod because every pod has a key of its own.
 */
import type { Refusal } from '../health/refusals.ts'
import { hmacSha256 } from './sha256.ts'

/** EC2's bounds, seconds (instance-metadata-v2-how-it-works). */
export const MAX_TOKEN_TTL = 21_600
const VERSION_BYTE = 1
const SIGNED = 8
const LENGTH = SIGNED + 32
// The last character carries two bits: only with the other four at zero is it the one spelling of the token.
const FORM = /^[A-Za-z0-9_-]{53}[AQgw]==$/
/** Not `Buffer.from(text)`: that comes out of Node's pool, whose slabs live until a full collection. */
const scratch = Buffer.alloc(LENGTH)

/** Lifetime a client asks for, seconds, or undefined where EC2 answers 400: missing, not a number, 0, over six hours. */
export function parseTtl(header: string | undefined): number | undefined {
  // A sign and leading zeros pass in EC2's published mock, as in most parsers of numbers.
  if (header === undefined || !/^\+?\d+$/.test(header)) return undefined
  const seconds = Number(header)
  return seconds >= 1 && seconds <= MAX_TOKEN_TTL ? seconds : undefined
}

/**
 * A new token.
 *
 * @param key the pod's key, 32 bytes
 * @param ttl lifetime in seconds, 1 to {@link MAX_TOKEN_TTL}
 * @param now wall clock, milliseconds
 */
export function issueToken(key: Uint8Array, ttl: number, now: number): string {
  const bytes = Buffer.alloc(LENGTH)
  bytes[0] = VERSION_BYTE
  bytes.writeUInt32BE(Math.floor(now / 1000) + ttl, 1)
  // Only tells tokens of one second apart; what makes a token is the key.
  bytes.writeUIntBE(Math.floor(Math.random() * 0x1000000), 5, 3)
  bytes.set(hmacSha256(key, bytes.subarray(0, SIGNED)), SIGNED)
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}

/**
 * Seconds a token still lives (1 to {@link MAX_TOKEN_TTL}), or undefined when it is not ours, was altered, or is over.
 *
 * @param now wall clock, milliseconds
 */
export function tokenLifetime(key: Uint8Array, token: string, now: number): number | undefined {
  if (!FORM.test(token)) return undefined
  scratch.write(token, 'base64url')
  if (scratch[0] !== VERSION_BYTE) return undefined
  if (!equal(hmacSha256(key, scratch.subarray(0, SIGNED)), scratch.subarray(SIGNED))) return undefined
  const left = scratch.readUInt32BE(1) - Math.floor(now / 1000)
  return left > 0 ? Math.min(left, MAX_TOKEN_TTL) : undefined
}

export type Session =
  /** `lifetime`: seconds the token still lives; undefined without a token (IMDSv1). */
  | { readonly ok: true; readonly lifetime: number | undefined }
  | { readonly ok: false; readonly refusal: Refusal }

/**
 * Judges the session token of a GET: none is fine where IMDSv1 is allowed, a wrong one never is.
 *
 * @param token the header's value
 * @param rules the pod's key, whether tokens are required, and the wall clock in milliseconds
 */
export function judgeSession(
  token: string | undefined,
  rules: {
    readonly tokenKey: Uint8Array
    readonly imdsTokens: 'optional' | 'required'
    readonly now: number
  },
): Session {
  if (token === undefined)
    return rules.imdsTokens === 'optional'
      ? { ok: true, lifetime: undefined }
      : { ok: false, refusal: 'token-missing' }
  const lifetime = tokenLifetime(rules.tokenKey, token, rules.now)
  return lifetime === undefined ? { ok: false, refusal: 'token-invalid' } : { ok: true, lifetime }
}

/** Same bytes, in a time that does not tell where they differ. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length
  for (let index = 0; index < a.length; index++) difference |= (a[index] ?? 0) ^ (b[index] ?? 0)
  return difference === 0
}
