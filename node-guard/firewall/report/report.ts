import type { FirewallState } from '../../../common/firewall-state.ts'
import type { Readiness } from '../../../common/health.ts'
import type { Sightings } from '../block/audit.ts'
import { type BlockState, CAUSES } from '../block/block.ts'
import type { OwnedState } from '../nft/owned-table.ts'
import type { LinkState } from '../node/broker-link.ts'
import type { SurroundingsState } from '../node/surroundings.ts'
import type { CounterName } from '../rules/guard.ts'
import type { Coded, HostNetwork, Status } from '../status/status.ts'

/** Everything that the guard knows about its node. */
export type GuardReport = {
  readonly mode: 'enforce' | 'audit' | 'remove'
  readonly block: BlockState
  /** Undefined without `--owned-table`. */
  readonly owned: OwnedState | undefined
  /** Undefined before the first look, and in mode `remove`. */
  readonly link: LinkState | undefined
  /** Undefined in mode `remove`. */
  readonly surroundings: SurroundingsState | undefined
  /** Undefined except in mode `audit`. */
  readonly sightings: Sightings | undefined
  /** Undefined where `--host-network` is off. */
  readonly hostNetwork?: HostNetwork | undefined
  /** Why the shared directory could not be written, or undefined. */
  readonly stateFault: string | undefined
  readonly pollIntervalMs: number
}

/** For how many poll intervals a verification is valid, and for how long at least: on a busy machine a check takes seconds. */
const VALID_INTERVALS = 3
const VALID_AT_LEAST_MS = 5000

const iso = (milliseconds: number) => new Date(milliseconds).toISOString()
/** `none` before the rules are loaded, and in mode `remove`. */
export const backendOf = ({ block }: GuardReport) => block.backend ?? 'none'
const validMs = (report: GuardReport) => Math.max(report.pollIntervalMs * VALID_INTERVALS, VALID_AT_LEAST_MS)

/** For how many seconds a published report is valid. */
export const validSecondsOf = (report: GuardReport) => validMs(report) / 1000

/**
 * Why the rules are not in place or have no effect: one sentence with its code, or undefined if all is well. In mode
 * `audit` this is about the rules that count, in mode `remove` about the absence of rules.
 */
export function whyNotVerified({ block, surroundings }: GuardReport): Coded | undefined {
  if (block.checkedAt === undefined) return { code: 'starting', detail: 'the rules have not been loaded yet' }
  if (!block.verified)
    return { code: 'block-not-verified', detail: block.detail ?? 'the rules could not be verified' }
  if (surroundings?.looked === false)
    return { code: 'starting', detail: 'the dataplane of this node has not been looked at yet' }
  if (surroundings?.bypass !== undefined) return { code: 'dataplane-bypass', detail: surroundings.bypass }
  return undefined
}

/** Ready: the rules (or, in mode `remove`, their absence) were verified recently, and the broker has its link. */
export function readinessOf(report: GuardReport, now: number): Readiness {
  const { block, link, mode, owned, stateFault } = report
  const not = (code: string, detail: string): Readiness => ({ ready: false, code, detail })
  const fault = whyNotVerified(report)
  if (fault !== undefined) return not(fault.code, fault.detail)
  const checkedAt = block.checkedAt ?? 0
  if (now - checkedAt > validMs(report))
    return not('verification-stale', `the rules were last verified at ${iso(checkedAt)}`)
  if (owned?.detail !== undefined) return not('owned-table-missing', owned.detail)
  if (mode !== 'remove' && !link?.up)
    return not('broker-link-down', link?.detail ?? 'the link of the broker has not been created yet')
  if (stateFault !== undefined) return not('state-not-written', stateFault)
  return { ready: true, code: { enforce: 'ready', audit: 'auditing', remove: 'removed' }[mode] }
}

/**
 * The statement for the broker. Its time is that of the last check, even if that found the block missing. A node in mode
 * `audit` with its rules in place counts as guarded, so that operators can try pod2iam before they enforce.
 */
export function firewallStateOf(report: GuardReport): FirewallState {
  const fault = whyNotVerified(report)
  return {
    version: 1,
    mode: report.mode,
    backend: backendOf(report),
    verified: fault === undefined,
    verifiedAt: iso(report.block.checkedAt ?? 0),
    validSeconds: validSecondsOf(report),
    ...(fault === undefined ? {} : { detail: fault.detail }),
  }
}

/** The node's state for people and scripts. */
export function statusOf(report: GuardReport): Status {
  const { block, hostNetwork, link, mode, owned, sightings, stateFault, surroundings } = report
  const fault = whyNotVerified(report)
  const warnings = [
    ...(fault === undefined || fault.code === 'dataplane-bypass' ? [] : [fault]),
    ...(surroundings?.warnings ?? []),
    ...(block.fallback === undefined ? [] : [{ code: 'backend-fallback', detail: block.fallback }]),
    ...(block.limited === undefined ? [] : [{ code: 'backend-limited', detail: block.limited }]),
    ...(block.othersLeft === undefined ? [] : [{ code: 'other-backend', detail: block.othersLeft }]),
    ...(owned?.detail === undefined ? [] : [{ code: 'owned-table', detail: owned.detail }]),
    ...(link?.detail === undefined ? [] : [{ code: 'broker-link', detail: link.detail }]),
    ...(stateFault === undefined ? [] : [{ code: 'state-not-written', detail: stateFault }]),
    ...(hostNetwork?.detail === undefined ? [] : [{ code: 'host-network', detail: hostNetwork.detail }]),
    ...(sightings?.full() ? [AUDIT_FULL] : []),
  ]
  return {
    backend: backendOf(report),
    mode,
    verified: fault === undefined,
    verifiedAt: block.checkedAt === undefined ? null : iso(block.checkedAt),
    ownedTable: owned?.held ?? false,
    refusedPackets: packetsOf(report, 'metadata_refused') + packetsOf(report, 'metadata_dropped'),
    repairs: CAUSES.reduce((sum, cause) => sum + block.repairs[cause], 0),
    brokerLink: link?.up ? 'up' : 'down',
    leftovers: surroundings?.leftovers ?? [],
    leftoversAt: surroundings?.lookedAt === undefined ? null : iso(surroundings.lookedAt),
    warnings,
    audit: sightings?.list() ?? [],
    hostNetwork: hostNetwork ?? null,
  }
}

const AUDIT_FULL = {
  code: 'audit-full',
  detail:
    'more addresses send to the metadata service than are remembered, so that some are counted in the metrics but not listed here',
}

/** A packet is counted once: by the plain table, or by the owned one while the plain table is gone. */
export const packetsOf = ({ block, owned }: GuardReport, name: CounterName) =>
  block.packets[name] + (owned?.packets[name] ?? 0)
