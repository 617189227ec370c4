import type { BackendName } from '../backend/backend.ts'
import type { Failure } from '../process/failure.ts'
import type { HostNetworkRuleset } from '../rules/host-network.ts'

/** Packets by counter. */
export type HostPackets = Readonly<Record<string, number>>

/** A backend that keeps the rules about pods on the host network in the kernel. None of its functions throws. */
export type HostNetworkBackend = {
  readonly name: BackendName
  /** What it keeps in the kernel, for use in sentences. */
  readonly what: string
  /**
   * Replaces the rules by these in one transaction, and keeps what they have counted.
   *
   * @returns `before`: what had been counted until then, also for pods that are no longer in the rules; undefined if that is not
   *   known. `packets`: the counters as they were loaded
   */
  readonly load: (
    rules: HostNetworkRuleset,
  ) => Promise<
    { readonly ok: true; readonly before: HostPackets | undefined; readonly packets: HostPackets } | Failure
  >
  /**
   * Reads back what was loaded last.
   *
   * @param whole whether the rules may have been changed; otherwise their counters suffice
   * @returns `differs`: whether another program changed them
   */
  readonly read: (
    whole: boolean,
  ) => Promise<{ readonly ok: true; readonly packets: HostPackets; readonly differs: boolean } | Failure>
  /**
   * Adds to the rules of an earlier process, if there are any, that they let this pod pass.
   *
   * @param cgroup of the pod
   * @returns `admitted`: whether there were any
   */
  readonly admit: (cgroup: string) => Promise<{ readonly ok: true; readonly admitted: boolean } | Failure>
  /** Removes the rules, if there are any. */
  readonly remove: () => Promise<Failure | undefined>
  /** Selects the notifications that concern the rules: tables of nf_tables (`family name`), and lines about them. */
  readonly eventFilter?: { readonly tables: readonly string[]; readonly matches: (line: string) => boolean }
  /** How often rules are read back where nothing notifies of changes, milliseconds. */
  readonly readEvery?: number
}
