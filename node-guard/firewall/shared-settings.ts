import { isIP } from 'node:net'
import { BROKER_ADDRESSES, METADATA_ADDRESSES } from '../../common/addresses.ts'
import { canonicalAddress } from '../../common/canonical-address.ts'
import { duration, list, type Setting, SettingError } from '../../common/settings.ts'

/** The addresses that guard, gate and host-network must agree on; all take the same flags. */
export const ADDRESS_SETTINGS = {
  metadataAddress: addresses(METADATA_ADDRESSES, 'address of the real metadata endpoint (repeatable)'),
  brokerAddress: addresses(BROKER_ADDRESSES, 'node-local address of the broker (repeatable)'),
}

/** A list of whole addresses. */
function addresses(fallback: readonly string[], help: string): Setting<readonly string[]> {
  const setting = list(fallback, help, wholeAddress)
  const parse = (text: string) => {
    const parsed = setting.parse(text)
    if (parsed.length === 0) throw new SettingError('must name at least one address')
    return parsed
  }
  return { ...setting, parse }
}

/** An IP address in its canonical spelling, without prefix length: a prefix would catch its neighbours, too. */
function wholeAddress(text: string): string {
  if (isIP(text) === 0 || text.includes('%'))
    throw new SettingError(`takes IP addresses without prefix length, not ${JSON.stringify(text)}`)
  return canonicalAddress(text)
}

/** A duration within these bounds, in milliseconds, which the error gives in words. */
export function boundedDuration(
  fallback: string,
  [least, most]: readonly [number, number],
  words: string,
  help: string,
): Setting<number> {
  const setting = duration(fallback, help)
  const parse = (value: string) => {
    const milliseconds = setting.parse(value)
    if (milliseconds !== undefined && milliseconds >= least && milliseconds <= most) return milliseconds
    throw new SettingError(`must be ${words}`)
  }
  return { ...setting, parse, fallback: () => parse(fallback) }
}
