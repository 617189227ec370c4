import type { Backend } from '../backend/backend.ts'
import { ruleEvents } from '../nft/rule-events.ts'
import type { Exec } from '../process/exec.ts'
import { GUARD_CHAINS } from '../rules/guard-iptables.ts'
import type { Family, Variant } from '../rules/iptables.ts'
import { CANARY_CHECK_MS, type Canaries, createCanaries } from './canaries.ts'
import type { Iptables } from './command.ts'
import { iptablesEventFilter, type LostTables, monitoredTables } from './events.ts'
import { createGuardChains } from './guard-chains.ts'
import { createLegacyNat, type LegacyNat } from './legacy-nat.ts'
import { type LegacyNode, removeFamilies } from './removal.ts'
import { legacyAccess, NFT_ACCESS } from './table-access.ts'

/** iptables-legacy has no notifications, and its canaries do not show every change: its rules are read back this often. */
const LEGACY_POLL_MS = 1000

type IptablesOptions = {
  readonly exec: Exec
  readonly variant: Variant
  /** The address families of this kernel. */
  readonly families: () => Promise<readonly Family[]>
  /** For iptables-legacy: what can be learned without running it. */
  readonly legacy?: LegacyNode
  /** For iptables-legacy, like `legacyNat`. */
  readonly canaries?: Canaries
  readonly legacyNat?: LegacyNat
}

/** The backend that keeps the guard's rules in iptables, by one of its variants, for both families. */
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
  const access = variant === 'nft' ? NFT_ACCESS : legacyAccess(legacyNat)
  const { write, compare } = createGuardChains({ tools, access, canaries, lost })
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
    reportedChange: () => (lost.any() ? 'is gone' : undefined),
    ...(canaries === undefined
      ? {
          monitor: async () => {
            const events = await ruleEvents(exec, iptablesEventFilter(monitored))
            limited = events.limited
            return events
          },
          limits: () => limited,
        }
      : {
          monitor: async () => undefined,
          polling: {
            areRulesGone: canaries.isOneGone,
            checkEvery: CANARY_CHECK_MS,
            readEvery: LEGACY_POLL_MS,
          },
          limits: () => {
            const limits = [
              ...(([4, 6] as const).some(access.skipsNat) ? [NO_PIN] : []),
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
