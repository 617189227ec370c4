import { FIREWALL_HEALTH_PORT, STATE_DIR } from '../../../common/addresses.ts'
import { LOG_LEVELS } from '../../../common/log.ts'
import { flag, oneOf, optional, port, type Settings, text } from '../../../common/settings.ts'
import { ADDRESS_SETTINGS, boundedDuration } from '../shared-settings.ts'

/** Settings of `firewall guard`. */
export const GUARD_SETTINGS = {
  mode: oneOf(
    ['enforce', 'audit', 'remove'],
    'enforce',
    'enforce: refuse; audit: only count; remove: remove our rules and stay ready',
  ),
  backend: oneOf(
    ['auto', 'nft', 'iptables'],
    'auto',
    'backend for the rules; auto uses the first that works, nft first',
  ),
  ownedTable: flag(
    false,
    'a second table that no other program can flush; while the guard owns it, no other program can restore a complete nft ruleset',
  ),
  ...ADDRESS_SETTINGS,
  dataplane: oneOf(
    ['auto', 'netfilter'],
    'auto',
    'auto: not verified if the dataplane bypasses netfilter, or may do so; netfilter: it is known not to',
  ),
  hostInterface: optional('accepted for kube2iam users and not needed: rules name no pod interface'),
  pollInterval: boundedDuration(
    '10s',
    [100, 300_000],
    'from 100ms to 5m',
    'how often the rules are read back although no event came',
  ),
  healthPort: port(FIREWALL_HEALTH_PORT, 'port of /livez, /readyz and /metrics'),
  stateDir: text(STATE_DIR, 'directory shared with the broker'),
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level that is logged'),
}
export type GuardSettings = Settings<typeof GUARD_SETTINGS>

/** Why settings that are valid by themselves contradict each other; one sentence, or undefined. */
export function conflictOf({ mode, backend, ownedTable }: GuardSettings): string | undefined {
  if (mode === 'audit' && backend === 'iptables')
    return '--mode audit needs nft: iptables cannot count by address; use --backend auto or nft, or another mode.'
  if (ownedTable && backend === 'iptables')
    return '--owned-table needs nft: iptables has no tables that belong to a process; use --backend auto or nft, or leave it false.'
  return undefined
}
