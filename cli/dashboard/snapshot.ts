/** What the page shows: everything that was read from the cluster in one update. */
import type { MetadataUser } from '../audit/metadata-users.ts'
import type { ApiRequest } from '../cluster/api-request.ts'
import type { NodeReport } from '../status/nodes.ts'
import type { Versions } from '../status/versions.ts'
import type { Holder } from '../who/holders.ts'

/** Why a pod was refused or is waiting, and what to do about it. */
export type Refusal = {
  readonly namespace: string
  readonly kind: string
  readonly name: string
  readonly code: string
  /** The message of the component that refuses. It may quote what others wrote, so it is text and never markup. */
  readonly detail: string
  readonly remedy: string
  /** A command that shows more. */
  readonly command: string
  /** When it was last reported, ISO 8601; null if it is the current state. */
  readonly at: string | null
}

export type Audit = {
  readonly seen: readonly MetadataUser[]
  /** The number of nodes in audit mode, and of other nodes. */
  readonly auditing: number
  readonly others: number
}

/** What could not be read, for a reason other than RBAC. */
export type Fault = { readonly code: string; readonly message: string; readonly remedy: string }

/** A part is null if it could not be read; `refused` or `faults` says why. */
export type Snapshot = {
  /** Milliseconds since 1970. */
  readonly takenAt: number
  /** From the kubeconfig. */
  readonly context: string
  /** Null if it is not known. */
  readonly isInstalled: boolean | null
  readonly nodes: readonly NodeReport[] | null
  readonly versions: Versions | null
  readonly pods: readonly Holder[] | null
  readonly refusals: readonly Refusal[] | null
  readonly audit: Audit | null
  /** What RBAC forbids. */
  readonly refused: readonly ApiRequest[]
  readonly faults: readonly Fault[]
}
