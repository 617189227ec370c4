import { FIREWALL_HEALTH_PORT, STATE_DIR } from '../../../common/addresses.ts'
import { LOG_LEVELS } from '../../../common/log.ts'
import {
  duration,
  flag,
  oneOf,
  port,
  type Setting,
  SettingError,
  type Settings,
  text,
} from '../../../common/settings.ts'
import { ADDRESS_SETTINGS } from '../addresses.ts'

/** Settings of `firewall guard`. */
export const GUARD_SETTINGS = {
  mode: except(
    oneOf(
      ['enforce', 'audit', 'remove'],
      'enforce',
      'enforce: refuse; audit: count only; remove: take our rules away and stay ready',
    ),
    'audit',
    'this release cannot audit; use enforce or remove',
  ),
  backend: except(
    oneOf(['auto', 'nft', 'iptables'], 'auto', 'how rules are made; auto takes what works'),
    'iptables',
    'this release makes rules with nft only; use auto or nft, and where nf_tables does not work keep these pods off the node',
  ),
  ownedTable: except(
    flag(false, 'a second table that nobody else can flush'),
    true,
    'this release has no owned table; leave it false: the plain table is repaired by events',
  ),
  ...ADDRESS_SETTINGS,
  pollInterval: pollInterval(),
  healthPort: port(FIREWALL_HEALTH_PORT, 'port of /livez, /readyz and /metrics'),
  stateDir: text(STATE_DIR, 'directory shared with the broker'),
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level that is logged'),
}
export type GuardSettings = Settings<typeof GUARD_SETTINGS>

/** Refuses a value that is known but not built: to ignore it would leave a node otherwise than it was told to be. */
function except<T>(setting: Setting<T>, refused: T, sentence: string): Setting<T> {
  const parse = (value: string) => {
    const parsed = setting.parse(value)
    if (parsed === refused) throw new SettingError(`is ${String(refused)}, but ${sentence}`)
    return parsed
  }
  return { ...setting, parse }
}

function pollInterval(): Setting<number> {
  const setting = duration('10s', 'how often the rules are read back although no event came')
  const parse = (value: string) => {
    const milliseconds = setting.parse(value)
    if (milliseconds === undefined || milliseconds < 100 || milliseconds > 300_000)
      throw new SettingError('must be from 100ms to 5m')
    return milliseconds
  }
  return { ...setting, parse, fallback: () => parse('10s') }
}
