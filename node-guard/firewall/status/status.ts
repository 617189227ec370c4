import type { HostPod } from '../../../common/host-pods.ts'
import type { BackendName } from '../backend/backend.ts'
import type { Sighting } from '../block/audit.ts'
import type { Leftover } from '../node/leftovers.ts'

/** A stable code for scripts, and one sentence. */
export type Coded = { readonly code: string; readonly detail: string }

/** The output of `firewall status --json`. */
export type Status = {
  readonly backend: string
  readonly mode: string
  readonly verified: boolean
  readonly verifiedAt: string | null
  readonly ownedTable: boolean
  readonly refusedPackets: number
  readonly repairs: number
  /** `unknown` if no guard has reported. */
  readonly brokerLink: 'up' | 'down' | 'unknown'
  readonly leftovers: readonly Leftover[]
  /** When they were looked for; null if they were not, as in mode `remove`. */
  readonly leftoversAt: string | null
  readonly warnings: readonly Coded[]
  readonly audit: readonly Sighting[]
  /** Pods on the host network; null where `--host-network` is off. */
  readonly hostNetwork: HostNetwork | null
}

/** A pod on the host network that sent packets to the metadata service. */
export type HostSighting = Omit<HostPod, 'uid'> & {
  readonly packets: number
  /** ISO 8601. */
  readonly lastSeen: string
}

/** What is known about pods on the host network. */
export type HostNetwork = {
  readonly mode: 'audit' | 'block'
  /** The backend that keeps the rules; undefined until they were loaded once. */
  readonly backend?: BackendName | undefined
  /** The rules are as they were loaded, and a packet has shown that they see the processes of pods. */
  readonly verified: boolean
  /** One sentence if `verified` is false. */
  readonly detail?: string | undefined
  /** How often a change by another program was undone. */
  readonly repairs: number
  /** Packets of pods that may use the node's role, of those that may not, and of pods without a rule of their own. */
  readonly packets: { readonly allowed: number; readonly others: number; readonly unknown: number }
  readonly pods: readonly HostSighting[]
}

/** The status where there is no report, in the same shape: nothing is known, so nothing is verified. */
export function missingStatus(warning: Coded): Status {
  return {
    backend: 'unknown',
    mode: 'unknown',
    verified: false,
    verifiedAt: null,
    ownedTable: false,
    refusedPackets: 0,
    repairs: 0,
    brokerLink: 'unknown',
    leftovers: [],
    leftoversAt: null,
    warnings: [warning],
    audit: [],
    hostNetwork: null,
  }
}
