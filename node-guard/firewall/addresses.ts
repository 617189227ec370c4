import { isIP } from 'node:net'
import { BROKER_ADDRESSES, METADATA_ADDRESSES } from '../../common/addresses.ts'
import { list, type Setting, SettingError } from '../../common/settings.ts'

/** The addresses that guard and gate must agree on; both take the same flags. */
export const ADDRESS_SETTINGS = {
  metadataAddress: addresses(METADATA_ADDRESSES, 'address of the real metadata endpoint (repeatable)'),
  brokerAddress: addresses(BROKER_ADDRESSES, 'node-local address of the broker (repeatable)'),
}

function addresses(fallback: readonly string[], help: string): Setting<readonly string[]> {
  const setting = list(fallback, help, canonicalAddress)
  const parse = (text: string) => {
    const parsed = setting.parse(text)
    if (parsed.length === 0) throw new SettingError('must name at least one address')
    return parsed
  }
  return { ...setting, parse }
}

/** An IP address in its canonical text; whole addresses only, so that no neighbour is caught by a prefix. */
export function canonicalAddress(text: string): string {
  const family = isIP(text)
  if (family === 0 || text.includes('%'))
    throw new SettingError(`takes IP addresses without prefix length, not ${JSON.stringify(text)}`)
  return family === 4 ? text : new URL(`http://[${text}]/`).hostname.slice(1, -1)
}
