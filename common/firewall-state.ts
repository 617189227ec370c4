/**
 * The file in which the firewall reports to the broker that this node is guarded. The broker gives no credentials on
 * an unguarded node (`--require-firewall`), and an outdated report counts as none.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile } from './replace-file.ts'
import { type Failed, failed } from './result.ts'
import { VERSION } from './version.ts'

/**
 * Guard and broker of one node-guard pod have the same image, unless somebody changes one in place. `version` is the shape of the file: fields
 * are only added, and a release that changes the meaning of a field or adds a mode increases it.
 */
export type FirewallState = {
  readonly version: 1
  /** `enforce`: packets to the real endpoint are refused; `audit`: only counted; `remove`: there are no rules of ours. */
  readonly mode: 'enforce' | 'audit' | 'remove'
  readonly backend: string
  /** Whether the rules were read back from the kernel and are correct. */
  readonly verified: boolean
  /** When that was last observed, ISO 8601. */
  readonly verifiedAt: string
  /** Seconds after `verifiedAt` until which the report is valid (three poll intervals, at least five). */
  readonly validSeconds: number
  /** One sentence if `verified` is false. */
  readonly detail?: string
  /** Release of the guard that wrote it; guards of 0.1.0 leave it out. */
  readonly release?: string
}

const FILE = 'firewall.json'
const SHAPE = 1
const MODES: ReadonlySet<unknown> = new Set(['enforce', 'audit', 'remove'])

/** Writes the state atomically: a reader never sees half of it. */
export async function writeFirewallState(directory: string, state: FirewallState): Promise<void> {
  await mkdir(directory, { recursive: true })
  await replaceFile(directory, FILE, { release: VERSION, ...state }, 0o644)
}

/** Why a node counts as unguarded, or undefined if it is guarded. Never throws. */
export async function whyUnguarded(directory: string, now: number): Promise<string | undefined> {
  const read = await readReport(directory)
  if (!read.ok) return read.detail
  const { state } = read
  const age = (now - Date.parse(state.verifiedAt)) / 1000
  // A report from the future is as worthless as an old one; a second of clock stepping is not.
  if (!(age >= -5 && age <= state.validSeconds))
    return `the firewall last verified its rules at ${state.verifiedAt}: check the firewall container of this node's guard`
  if (!state.verified) return state.detail ?? 'the firewall could not verify its rules'
  if (state.mode === 'remove') return 'the firewall is removing its rules (--mode=remove)'
  return undefined
}

/** Why this release cannot read the guard's report, however well the node is guarded; undefined if it can. */
export async function whyUnreadable(directory: string): Promise<string | undefined> {
  const read = await readReport(directory)
  return !read.ok && read.isForeign ? read.detail : undefined
}

type Report =
  | { readonly ok: true; readonly state: FirewallState }
  | (Failed & { readonly isForeign: boolean })

async function readReport(directory: string): Promise<Report> {
  const not = (what: string): Report => ({
    ...failed(`${what}: check the firewall container of this node's guard`),
    isForeign: false,
  })
  let text: string
  try {
    text = await readFile(join(directory, FILE), 'utf8')
  } catch {
    return not(`the firewall has not reported in ${directory}`)
  }
  const value = parsed(text)
  if (value === undefined) return not(`the firewall's report in ${directory} cannot be read`)
  return isState(value)
    ? { ok: true, state: value }
    : { ...failed(whyForeign(directory, value)), isForeign: true }
}

type Fields = { readonly [K in keyof FirewallState]?: unknown }

function parsed(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function isState(value: Fields): value is FirewallState {
  return (
    value.version === SHAPE &&
    MODES.has(value.mode) &&
    typeof value.verified === 'boolean' &&
    typeof value.verifiedAt === 'string' &&
    typeof value.validSeconds === 'number' &&
    value.validSeconds > 0 &&
    (value.detail === undefined || typeof value.detail === 'string')
  )
}

/** One sentence, with both releases and the remedy. */
function whyForeign(directory: string, { version, release }: Fields): string {
  const shape = typeof version === 'number' ? `has shape ${version}` : 'has a shape that is not known here'
  const writer = typeof release === 'string' ? release.replace(/[^\w.+-]/g, '').slice(0, 40) : 'not said'
  return `the firewall's report in ${directory} ${shape} (its release: ${writer}), and this broker of release ${VERSION} reads shape ${SHAPE}: firewall and broker must be of the same release, so delete this node-guard pod and let its DaemonSet create it again`
}
