/**
 * The file in which the firewall tells the broker that this node is guarded. The broker gives no credentials on
 * an unguarded node (`--require-firewall`), and an old statement is no statement.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export type FirewallState = {
  readonly version: 1
  /** `enforce`: the real endpoint is refused; `audit`: only counted; `remove`: nothing of ours is there. */
  readonly mode: 'enforce' | 'audit' | 'remove'
  readonly backend: string
  /** The rules were read back from the kernel and are as wanted. */
  readonly verified: boolean
  /** When that was last seen, ISO 8601. */
  readonly verifiedAt: string
  /** Seconds after `verifiedAt` until which the statement holds (three poll intervals, at least five). */
  readonly validSeconds: number
  /** One sentence where `verified` is false. */
  readonly detail?: string
}

const FILE = 'firewall.json'

/** Writes the state so that a reader never sees half of it. */
export async function writeFirewallState(directory: string, state: FirewallState): Promise<void> {
  await mkdir(directory, { recursive: true })
  const temporary = join(directory, `.${FILE}.${process.pid}`)
  await writeFile(temporary, `${JSON.stringify(state)}\n`, { mode: 0o644 })
  await rename(temporary, join(directory, FILE))
}

/** Why a node counts as unguarded, or undefined when it is guarded. Never throws. */
export async function whyUnguarded(directory: string, now: number): Promise<string | undefined> {
  let state: FirewallState | null
  try {
    state = JSON.parse(await readFile(join(directory, FILE), 'utf8'))
  } catch {
    return `the firewall has not reported in ${directory}: check the firewall container of this node's guard`
  }
  if (state?.version !== 1 || typeof state.verifiedAt !== 'string' || !(state.validSeconds > 0))
    return `the firewall's report in ${directory} cannot be read: firewall and broker must be of the same release`
  const age = (now - Date.parse(state.verifiedAt)) / 1000
  // A report from the future is as worthless as an old one; a second of clock stepping is not.
  if (!(age >= -5 && age <= state.validSeconds))
    return `the firewall last verified its rules at ${state.verifiedAt}: check the firewall container of this node's guard`
  if (!state.verified) return state.detail ?? 'the firewall could not verify its rules'
  if (state.mode === 'remove') return 'the firewall was told to remove its rules (--mode=remove)'
  return undefined
}
