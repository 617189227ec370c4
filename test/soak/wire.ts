/** Requests as bytes, and the usual shapes of an attack. */
import type { Attack, Step } from './attack.ts'
import { ROLE } from './secrets.ts'

export const LIST = '/latest/meta-data/iam/security-credentials/'
export const DOCUMENT = `${LIST}${ROLE}`
export const TOKEN_PATH = '/latest/api/token'
export const TTL = 'X-aws-ec2-metadata-token-ttl-seconds'
export const TOKEN = 'X-aws-ec2-metadata-token'
export const GOOD_HOST = 'Host: 169.254.169.254'
export const EVIL_HOST = 'Host: evil.example'

/** A request line and header lines, without a body. */
export function lines(...all: readonly string[]): string {
  return `${all.join('\r\n')}\r\n\r\n`
}

/** Bytes that must be refused, whoever sends them. */
export function refused(text: string, changes: Partial<Attack> = {}): Attack {
  return { ...shape([{ send: text }]), ...changes }
}

/** Bytes that a client of the pod might send, too: the answer may contain credentials. */
export function allowed(steps: readonly Step[], changes: Partial<Attack> = {}): Attack {
  return { ...shape(steps), entitled: true, never2xx: false, ...changes }
}

/** The strictest expectations and one short connection. */
export function shape(steps: readonly Step[]): Attack {
  return { steps, entitled: false, never2xx: true, requests: 1, linger: 300, connections: 1 }
}
