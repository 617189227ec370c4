import type { Watched } from '../process/watch.ts'
import type { CounterName, GuardRuleset } from '../rules/guard.ts'

/** By what means rules are made; `iptables-legacy` works where the kernel has no nf_tables. */
const BACKENDS = ['nft', 'iptables-nft', 'iptables-legacy'] as const
export type BackendName = (typeof BACKENDS)[number]

/** What reading the rules back came to: `failed` or `differs` say why they are not as loaded; neither, that they are. */
export type Compared = {
  readonly failed?: string
  readonly differs?: 'is gone' | 'was changed' | 'is not first'
  /** Packets by counter since the rules were loaded, where they could be read. */
  readonly packets?: Readonly<Partial<Record<CounterName, number>>>
}

/** Why something could not be done. */
export type Failure = {
  readonly detail: string
  /** Not on this machine, however often it is tried: then nothing of ours was left by this means either… */
  readonly unusable: boolean
  /** …but where rules stand by this means, and nobody could look whether some are ours. */
  readonly mayStand?: true
}

/** One way of keeping the guard's rules in the kernel. Nothing in it throws. */
export type Backend = {
  readonly name: BackendName
  /** What of ours stands in the kernel, for sentences. */
  readonly what: string
  /** Loads these rules in the place of what is there of ours, without a moment in between. */
  readonly load: (rules: GuardRuleset) => Promise<Failure | undefined>
  /** Reads back what was loaded last. */
  readonly compare: () => Promise<Compared>
  /** What is watched told that the rules are no more as they were loaded: they are loaded again before they are read. */
  readonly heard?: () => 'is gone' | 'was changed' | undefined
  /** Removes all that is ours by this means, and looks that it is gone: what became of it. */
  readonly remove: () => Promise<'absent' | 'removed' | Failure>
  /** What tells of changes; undefined where nothing does. */
  readonly watched: () => Promise<Watched | undefined>
  /** What makes up for that. */
  readonly unwatched?: {
    /** Whether some rules are seen to be gone: then it is `heard` too. Cheap; says so once. */
    readonly isDisturbed: () => boolean
    /** How often rules are read back, milliseconds. */
    readonly readEvery: number
  }
  /** Why it keeps less than is promised on this node, once it loaded; one sentence, or undefined. */
  readonly limits?: () => string | undefined
}
