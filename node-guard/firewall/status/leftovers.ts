import { readFile, readlink } from 'node:fs/promises'
import type { NatRules } from '../iptables/nat-rules.ts'
import { findLeftovers } from '../node/leftovers.ts'
import type { Status } from './status.ts'

/** Where a guard searches for leftovers. */
export type LookedAt = {
  /** See {@link thisNetwork}. */
  readonly network: string
  /** Addresses of the metadata service. */
  readonly metadata: readonly string[]
}

type LookOptions = {
  readonly lookedAt: LookedAt | undefined
  /** Of this process. */
  readonly network: string | undefined
  readonly readNatRules: (texts: readonly string[]) => Promise<NatRules>
  /** Milliseconds. */
  readonly now: () => number
}

/**
 * The status with leftovers as they are now: a rule that the operator has just removed must not be listed. Where not
 * everything can be read that the guard reads (in another network namespace, with fewer capabilities, or not in time), the
 * list stays as the guard saw it, and a warning says how old it is.
 */
export async function withFreshLeftovers(status: Status, options: LookOptions): Promise<Status> {
  const { lookedAt, network, now, readNatRules } = options
  // In mode `remove` leftovers are not looked for.
  if (lookedAt === undefined) return status
  if (lookedAt.network !== network) return asOf(status, 'this is not the network namespace of the guard')
  const at = new Date(now()).toISOString()
  const { rules, unread } = await readNatRules(lookedAt.metadata)
  // The guard already warns about what it cannot read itself.
  const known = new Set(status.warnings.map(({ detail }) => detail))
  const news = unread.filter((detail) => !known.has(detail))
  if (status.leftoversAt !== null && news[0] !== undefined) return asOf(status, news[0])
  return {
    ...status,
    leftovers: findLeftovers(rules, lookedAt.metadata),
    leftoversAt: at,
    warnings: [...status.warnings, ...news.map((detail) => ({ code: 'leftovers-not-checked', detail }))],
  }
}

function asOf(status: Status, why: string): Status {
  const seen =
    status.leftoversAt === null ? 'the guard has not looked yet' : `are as of ${status.leftoversAt}`
  const detail = `leftovers could not be looked for now (${why}) and ${seen}: run this in the firewall container of the node guard`
  return { ...status, warnings: [...status.warnings, { code: 'leftovers-old', detail }] }
}

/** Identifies this network namespace among those of all machines, until the next boot; undefined without /proc. */
export async function thisNetwork(): Promise<string | undefined> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    return `${await readlink('/proc/self/ns/net')} ${boot.trim()}`
  } catch {
    return undefined
  }
}
