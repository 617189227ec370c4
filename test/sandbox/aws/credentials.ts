/** Access keys and identifiers of the right form, from the system's random source. */
import { randomBytes, randomInt } from 'node:crypto'

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** A four-letter prefix (`ASIA` session key, `AKIA` user key, `AROA` role, `AIDA` user, `AIPA` instance profile) and what follows it. */
export function makeId(prefix: string, length: number): string {
  return prefix + Array.from(randomBytes(length), (byte) => BASE32[byte % 32]).join('')
}

export function makeAccessKeyId(prefix: 'ASIA' | 'AKIA'): string {
  return makeId(prefix, 16)
}

/** Forty characters of base64, including `/` and `+`, which careless encoders break. */
export function makeSecretAccessKey(): string {
  return randomBytes(30).toString('base64')
}

/** A session token: base64 that begins as AWS's do. Its size varies, because AWS says that it is not fixed. */
export function makeSessionToken(): string {
  const start = Buffer.from('IQoJb3JpZ2luX2Vj', 'base64')
  return Buffer.concat([start, randomBytes(randomInt(300, 700))]).toString('base64')
}
