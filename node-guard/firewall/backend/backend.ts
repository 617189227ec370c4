import type { Failure } from '../process/failure.ts'
import type { MonitorCommand } from '../process/watch.ts'
import type { GuardRuleset } from '../rules/guard.ts'
import type { Packets } from './counts.ts'

/** The programs that make rules; `iptables-legacy` works where the kernel has no nf_tables. */
export type BackendName = 'nft' | 'iptables-nft' | 'iptables-legacy'

/** The result of reading the rules back: with neither `failed` nor `differs` they are as they were loaded. */
export type Compared = {
  readonly failed?: string
  readonly differs?: 'is gone' | 'was changed' | 'is not first'
  /** Packets by counter since the rules were loaded, if they could be read. */
  readonly packets?: Partial<Packets>
}

/** A backend that keeps the guard's rules in the kernel. None of its functions throws. */
export type Backend = {
  readonly name: BackendName
  /** What it keeps in the kernel, for use in sentences. */
  readonly what: string
  /** Replaces our rules by these, without a moment in between. */
  readonly load: (rules: GuardRuleset) => Promise<Failure | undefined>
  /** Reads back what was loaded last. */
  readonly compare: () => Promise<Compared>
  /** What happened to the rules according to notifications, or undefined. They are then loaded without being read back first. */
  readonly reportedChange?: () => 'is gone' | 'was changed' | undefined
  /** Removes all rules that this backend made, and checks that they are gone. */
  readonly remove: () => Promise<'absent' | 'removed' | Failure>
  /** The command that notifies of changes; undefined if none can. */
  readonly monitor: () => Promise<MonitorCommand | undefined>
  /** How to poll where there are no notifications. */
  readonly polling?: {
    /** Whether some rules are gone, which `reportedChange` then also reports. Cheap; true once for each loss. */
    readonly areRulesGone: () => boolean
    /** How often that is checked, milliseconds. */
    readonly checkEvery: number
    /** How often rules are read back, milliseconds. */
    readonly readEvery: number
  }
  /** Why it cannot do on this node everything that is documented, known once it has loaded; one sentence, or undefined. */
  readonly limits?: () => string | undefined
}
