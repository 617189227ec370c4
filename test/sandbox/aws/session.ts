/** What sessions of roles have in common, however they were assumed. */
import type { Role } from './iam.ts'

const HOUR = 3600

/** `arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION`: the role's path is not in it. */
export function sessionArn(role: Role, sessionName: string): string {
  const partition = role.arn.split(':')[1] ?? 'aws'
  return `arn:${partition}:sts::${role.account}:assumed-role/${role.name}/${sessionName}`
}

/**
 * When a session expires, in milliseconds: STS uses whole seconds.
 *
 * @param duration seconds; undefined for the default of an hour
 */
export const expiryOf = (now: number, duration: number | undefined): number =>
  Math.floor(now / 1000) * 1000 + (duration ?? HOUR) * 1000

// AWS does not document how it packs; this grows with what is sent and reaches its limit in the same range.
export const packedPercent = ({ packedLength }: { readonly packedLength: number }): number =>
  Math.ceil((packedLength * 100) / 4096)
