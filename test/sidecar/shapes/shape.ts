/** Request shapes as exact bytes, each with the sidecar's answer, EC2's answer, and how that is known. */

/** How EC2's answer is known. */
export type Source =
  /** The EC2 user guide says it. */
  | 'documented'
  /** A published capture of the real service shows it. */
  | 'captured'
  /** Users report it, or it follows from a reported rule: that EC2 answers whatever `Host` says. */
  | 'reported'
  /** A shipped client or script sends it, and works on EC2. */
  | 'in use'
  /** Nobody has published it: the sidecar's answer is one that RFC 9112, SDKs' tests and EC2's published mock allow. */
  | 'unpublished'

export type Shape = {
  readonly what: string
  /** One character for each byte. */
  readonly send: string
  /** The sidecar's status, or `none` if the connection ends without an answer. */
  readonly ours: number | 'none'
  readonly ec2: number | 'unpublished'
  readonly source: Source
}

export const LEAF = '/latest/meta-data/instance-id'
export const LIST = '/latest/meta-data/iam/security-credentials/'
export const TOKEN_PATH = '/latest/api/token'
export const TTL = 'X-aws-ec2-metadata-token-ttl-seconds'
export const HOST = 'Host: 169.254.169.254'

/** A request line and header lines, without a body. */
export const lines = (...all: readonly string[]): string => `${all.join('\r\n')}\r\n\r\n`

/** EC2 gives the same answer. */
export function same(
  what: string,
  send: string,
  status: number,
  source: Exclude<Source, 'unpublished'>,
): Shape {
  return { what, send, ours: status, ec2: status, source }
}

/** EC2's answer is not known. */
export function ours(what: string, send: string, status: number | 'none'): Shape {
  return { what, send, ours: status, ec2: 'unpublished', source: 'unpublished' }
}

/** The sidecar refuses what EC2 serves. The reason for each is in the sidecar's README. */
export function stricter(what: string, send: string, status: number, ec2: number, source: Source): Shape {
  return { what, send, ours: status, ec2, source }
}
