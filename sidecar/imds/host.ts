/**
 * Which `Host` may be asked for: the metadata addresses and loopback. Anything else is a name that somebody made
 * resolve to us, which is how DNS rebinding turns a browser in the pod into a reader of its credentials
 * (eks-pod-identity-agent has the same check).
 */
import { METADATA_ADDRESSES } from '../../common/addresses.ts'

const ALLOWED: ReadonlySet<string> = new Set([
  ...METADATA_ADDRESSES.map((address) => (address.includes(':') ? `[${address}]` : address)),
  '127.0.0.1',
  '[::1]',
  'localhost',
])

/**
 * Whether a Host value (or the authority of an absolute target) is one of ours, with any port.
 *
 * @param host an authority: name or address, perhaps with a port
 */
export function hostAllowed(host: string): boolean {
  const name = host.replace(/:\d{1,5}$/, '').toLowerCase()
  return ALLOWED.has(name) || ALLOWED.has(canonical(name))
}

/** IPv6 has many spellings; IPv4 too, but no client of the metadata service writes them. */
function canonical(name: string): string {
  if (!/^\[[0-9a-f:.]{2,45}\]$/.test(name)) return ''
  return URL.parse(`http://${name}/`)?.hostname ?? ''
}
