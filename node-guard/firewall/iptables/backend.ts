import type { Backend } from '../guard/backend.ts'
import { ruleEvents } from '../nft/rule-events.ts'
import type { Exec } from '../process/exec.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import { CANARY_CHECK_MS, type Canaries, createCanaries } from './canaries.ts'
import type { Family, Iptables, Variant } from './command.ts'
import { iptablesInterest, type LostTables, monitoredTables } from './events.ts'
import { ipTables, NF_TABLES } from './kernel.ts'
import { createLegacyNat, type LegacyNat } from './legacy-nat.ts'
import { type LegacyNode, removeFamilies } from './removal.ts'
import { createStanding } from './standing.ts'

/** iptables-legacy has no notifications, and its canaries do not show every change: its rules are read back this often. */
const LEGACY_POLL_MS = 1000

type IptablesOptions = {
  readonly exec: Exec
  readonly variant: Variant
  /** The address families of this kernel. */
  readonly families: () => Promise<readonly Family[]>
  /** For iptables-legacy: what is known without running it. */
  readonly legacy?: LegacyNode
  /** For iptables-legacy, as is `legacyNat`. */
  readonly canaries?: Canaries
  readonly legacyNat?: LegacyNat
}

/** The guard's rules in iptables, by one of its variants, for both families. */
export function iptablesBackend({
  exec,
  variant,
  families,
  legacy,
  canaries = variant === 'legacy' ? createCanaries() : undefined,
  legacyNat = createLegacyNat(),
}: IptablesOptions): Backend {
  const tools = async () =>
    (await families()).map((family): Iptables => ({ exec, variant, family, prefix: GUARD_CHAINS }))
  const monitored = monitoredTables()
  const lost: LostTables = canaries ?? monitored
  const kernel = variant === 'nft' ? NF_TABLES : ipTables(legacyNat)
  const { write, compare } = createStanding({ tools, kernel, canaries, lost })
  let limited: string | undefined
  return {
    name: `iptables-${variant}`,
    what: `the chains ${GUARD_CHAINS}* of iptables-${variant}`,
    load: async (rules) => {
      let failed = await write(rules)
      // The kernel may lack what the canaries need.
      if (failed?.raced && canaries?.giveUp()) {
        failed = await write(rules)
        if (failed !== undefined) canaries.resume()
      }
      return failed
    },
    compare,
    remove: async () => removeFamilies(await tools(), legacy),
    heard: () => (lost.any() ? 'is gone' : undefined),
    ...(canaries === undefined
      ? {
          watched: async () => {
            const events = await ruleEvents(exec, iptablesInterest(monitored))
            limited = events.limited
            return events
          },
          limits: () => limited,
        }
      : {
          watched: async () => undefined,
          unwatched: {
            isDisturbed: canaries.isOneGone,
            checkEvery: CANARY_CHECK_MS,
            readEvery: LEGACY_POLL_MS,
          },
          limits: () => {
            const limits = [
              ...(([4, 6] as const).some(kernel.leavesNat) ? [NO_PIN] : []),
              ...(canaries.missing() ? [NO_CANARIES] : []),
            ]
            return limits.length > 0 ? limits.join('; ') : undefined
          },
        }),
  }
}

const NO_PIN =
  'the nat table of iptables-legacy is too big to be read or changed within this container’s memory, so that the broker’s address and IPv6 addresses of the metadata service are not kept from another’s DNAT (a hostPort that is the broker’s port, a Service that claims the address): what pods send there is then refused, and what the host sends goes elsewhere; forbid that port and enable the admission plugin DenyServiceExternalIPs, or use nf_tables'

const NO_CANARIES =
  'the loss of rules of iptables-legacy does not show in /proc/net/xt_recent, so that it is found only when they are read back, once a second: load the module xt_recent, or lower --poll-interval'
