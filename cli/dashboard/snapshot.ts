/** What the page shows: everything that was seen in one look at the cluster. */
import type { Seen } from '../audit/seen.ts'
import type { Asked } from '../cluster/asked.ts'
import type { NodeReport } from '../status/nodes.ts'
import type { Versions } from '../status/versions.ts'
import type { Holder } from '../who/holders.ts'

/** Why a pod was refused, or waits, and what to do about it. */
export type Refusal = {
  readonly namespace: string
  readonly kind: string
  readonly name: string
  readonly code: string
  /** The sentence of whoever refuses. What it quotes was written by others: it is text and never markup. */
  readonly detail: string
  readonly remedy: string
  /** A command that tells more. */
  readonly command: string
  /** ISO 8601 of when it was told last; null where it is so now. */
  readonly at: string | null
}

export type Audit = {
  readonly seen: readonly Seen[]
  /** Nodes in audit mode, and the others. */
  readonly auditing: number
  readonly others: number
}

/** What could not be seen, for another reason than RBAC. */
export type Fault = { readonly code: string; readonly message: string; readonly remedy: string }

/** A part is null where it could not be seen; `refused` or `faults` says why. */
export type Snapshot = {
  /** Milliseconds since 1970. */
  readonly takenAt: number
  /** Of the kubeconfig. */
  readonly context: string
  /** Null where nobody can tell. */
  readonly isInstalled: boolean | null
  readonly nodes: readonly NodeReport[] | null
  readonly versions: Versions | null
  readonly pods: readonly Holder[] | null
  readonly refusals: readonly Refusal[] | null
  readonly audit: Audit | null
  /** What RBAC forbids. */
  readonly refused: readonly Asked[]
  readonly faults: readonly Fault[]
}
