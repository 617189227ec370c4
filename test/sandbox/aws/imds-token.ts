/** Session tokens of IMDSv2: 56 characters of base64url, like EC2's, sealed so that nothing needs to be remembered. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Longest lifetime of a token, in seconds. */
const MAX_TTL = 21_600

export class ImdsTokens {
  readonly #key = randomBytes(32)

  /** Creates a token that is valid until `expiresAt` (seconds since the epoch). */
  make(expiresAt: number): string {
    const head = Buffer.concat([Buffer.from([1]), randomBytes(3), Buffer.alloc(4)])
    head.writeUInt32BE(expiresAt, 4)
    return base64url(Buffer.concat([head, this.#seal(head)]))
  }

  /** Seconds for which a token is still valid, or undefined when it is forged or expired. Takes the time in seconds. */
  remaining(token: string, now: number): number | undefined {
    const bytes = Buffer.from(token, 'base64url')
    if (bytes.length !== 40 || base64url(bytes) !== token) return undefined
    const head = bytes.subarray(0, 8)
    if (!timingSafeEqual(this.#seal(head), bytes.subarray(8))) return undefined
    const left = head.readUInt32BE(4) - now
    return left > 0 ? left : undefined
  }

  #seal(head: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(head).digest()
  }
}

function base64url(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}

/** Reads the TTL header: whole seconds from 1 to 21600, or undefined. */
export function parseTtl(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined
  const seconds = Number(text)
  return seconds >= 1 && seconds <= MAX_TTL ? seconds : undefined
}
