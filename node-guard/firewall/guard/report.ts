import type { FirewallState } from '../../../common/firewall-state.ts'
import type { Readiness } from '../../../common/health.ts'
import { type BlockState, CAUSES } from './block.ts'
import type { LinkState } from './link.ts'
import { COUNTERS } from './ruleset.ts'

/** All that the guard knows about its node. */
export type GuardReport = {
  readonly mode: 'enforce' | 'remove'
  readonly block: BlockState
  /** Undefined before the first look, and in mode `remove`. */
  readonly link: LinkState | undefined
  /** Why the shared directory could not be written, or undefined. */
  readonly stateFault: string | undefined
  readonly pollIntervalMs: number
}

/** What `firewall status --json` prints and the guard writes beside the broker's file. */
export type Status = {
  readonly backend: string
  readonly mode: string
  readonly verified: boolean
  readonly verifiedAt: string | null
  readonly ownedTable: boolean
  readonly refusedPackets: number
  readonly repairs: number
  readonly brokerLink: 'up' | 'down'
  readonly leftovers: readonly { readonly kind: string; readonly rule: string; readonly remove: string }[]
  readonly warnings: readonly { readonly code: string; readonly detail: string }[]
  readonly audit: readonly {
    readonly address: string
    readonly via: 'direct' | 'dnat'
    readonly packets: number
    readonly lastSeen: string
  }[]
}

/** How many poll intervals a verification holds. */
const VALID_INTERVALS = 3
const BACKEND = 'nft'

const iso = (milliseconds: number) => new Date(milliseconds).toISOString()
const validMs = (report: GuardReport) => report.pollIntervalMs * VALID_INTERVALS

/** Ready: the rules (or, in mode `remove`, their absence) were just verified, and the broker has its link. */
export function readinessOf(report: GuardReport, now: number): Readiness {
  const { block, link, mode, stateFault } = report
  const not = (code: string, detail: string): Readiness => ({ ready: false, code, detail })
  if (block.checkedAt === undefined) return not('starting', 'the rules have not been loaded yet')
  if (!block.verified) return not('block-not-verified', block.detail ?? 'the rules could not be verified')
  if (now - block.checkedAt > validMs(report))
    return not('verification-stale', `the rules were last verified at ${iso(block.checkedAt)}`)
  if (mode === 'enforce' && !link?.up)
    return not('broker-link-down', link?.detail ?? 'the link of the broker has not been made yet')
  if (stateFault !== undefined) return not('state-not-written', stateFault)
  return { ready: true, code: mode === 'remove' ? 'removed' : 'ready' }
}

/** The statement for the broker. Its time is that of the look, also where the look found the block missing. */
export function firewallStateOf(report: GuardReport): FirewallState {
  const { block, mode } = report
  return {
    version: 1,
    mode,
    backend: BACKEND,
    verified: block.verified,
    verifiedAt: iso(block.checkedAt ?? 0),
    // At least a second: a short interval must not make the statement flicker on a busy machine.
    validSeconds: Math.max(validMs(report) / 1000, 1),
    ...(block.detail === undefined ? {} : { detail: block.detail }),
  }
}

/** The empty lists of {@link statusOf} must not read as a clean bill. */
const NOT_CHECKED = {
  code: 'not-checked',
  detail:
    'this release does not look for rules left behind by kube2iam or kiam, for dataplanes that bypass netfilter, nor at the IMDS options of this node',
}

/** The node's state for people and scripts. */
export function statusOf(report: GuardReport): Status {
  const { block, link, mode, stateFault } = report
  const warnings = [
    ...(block.detail === undefined ? [] : [{ code: 'block-not-verified', detail: block.detail }]),
    ...(link?.detail === undefined ? [] : [{ code: 'broker-link', detail: link.detail }]),
    ...(stateFault === undefined ? [] : [{ code: 'state-not-written', detail: stateFault }]),
    NOT_CHECKED,
  ]
  return {
    backend: BACKEND,
    mode,
    verified: block.verified,
    verifiedAt: block.checkedAt === undefined ? null : iso(block.checkedAt),
    ownedTable: false,
    refusedPackets: block.packets.metadata_refused + block.packets.metadata_dropped,
    repairs: CAUSES.reduce((sum, cause) => sum + block.repairs[cause], 0),
    brokerLink: link?.up ? 'up' : 'down',
    leftovers: [],
    warnings,
    audit: [],
  }
}

/** Prometheus text. Labels are bounded: counters, causes, backend and mode. */
export function metricsText(report: GuardReport, now: number): string {
  const { block, link, mode } = report
  const age = block.checkedAt === undefined ? Number.NaN : (now - block.checkedAt) / 1000
  const metric = (name: string, type: 'gauge' | 'counter', help: string, samples: readonly string[]) => [
    `# HELP pod2iam_firewall_${name} ${help}`,
    `# TYPE pod2iam_firewall_${name} ${type}`,
    ...samples.map((sample) => `pod2iam_firewall_${name}${sample}`),
  ]
  const verified = block.verified && mode === 'enforce' ? 1 : 0
  return `${[
    ...metric('info', 'gauge', 'Backend and mode of the firewall.', [
      `{backend="${BACKEND}",mode="${mode}"} 1`,
    ]),
    ...metric('block_verified', 'gauge', '1 when the rules were read back as loaded.', [` ${verified}`]),
    ...metric('verification_age_seconds', 'gauge', 'Seconds since the rules were last read back.', [
      ` ${age}`,
    ]),
    ...metric(
      'packets_total',
      'counter',
      'Packets refused or dropped, by rule.',
      COUNTERS.map((name) => `{rule="${name}"} ${block.packets[name]}`),
    ),
    ...metric(
      'repairs_total',
      'counter',
      'Changes by others that were undone, by what made us look.',
      CAUSES.map((cause) => `{cause="${cause}"} ${block.repairs[cause]}`),
    ),
    ...metric('broker_link_up', 'gauge', '1 when the link of the broker is up.', [` ${link?.up ? 1 : 0}`]),
  ].join('\n')}\n`
}
