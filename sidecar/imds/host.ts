/**
 * Which `Host` is answered. EC2 ignores the header, and so would we if there were no DNS rebinding: a web page whose owner lets
 * its name resolve to 169.254.169.254 would have a browser in the pod read the pod's credentials
 * (eks-pod-identity-agent has the same check). A browser sends the page's name, always. So a name that is not
 * EC2's own is refused; a missing Host and the address itself, in any spelling, cannot be an attacker's.
 */
import { METADATA_ADDRESSES } from '../../common/addresses.ts'

/** The value of nearly every request; the others cost more to judge. */
const USUAL: ReadonlySet<string> = new Set(METADATA_ADDRESSES.map(bracketed))

/** EC2's names (scripts use the short one), all below zones that nobody can register, and loopback's. */
const NAMES = /^(?:localhost|instance-data(?:\.ec2\.internal|\.[a-z]+-[a-z-]+-\d\.compute\.internal)?)\.?$/

/** Addresses as the URL standard spells them. */
const ADDRESSES =
  /^(?:169\.254\.169\.254|127\.[\d.]+|\[::1\]|\[::ffff:(?:a9fe:a9fe|7f[\da-f]{2}:[\da-f]+)\])$/

/**
 * Whether a Host value (or the authority of an absolute target) is ours, with any port. A missing Host never gets here.
 *
 * @param host an authority: name or address, perhaps with a port; several, where there were several Hosts, joined by commas
 */
export function hostAllowed(host: string): boolean {
  if (USUAL.has(host)) return true
  return host.toLowerCase().split(', ').every(isOurs)
}

function isOurs(host: string): boolean {
  return readings(host).some((name) => NAMES.test(name) || isOurAddress(name))
}

/** The host without its port. IPv6 without brackets, as awscrt sends it, can be read in two ways if it ends like a port. */
function readings(host: string): readonly string[] {
  const name = host.replace(/:\d{0,5}$/, '')
  return host.includes(':', host.indexOf(':') + 1) && !host.startsWith('[') ? [host, name] : [name]
}

/** A literal: digits, hexadecimal and punctuation, so that no name is looked at, nor anything that URLs would decode. */
const LITERAL = /^(?:[\da-fx.]+|\[([\da-f:.]+)(?:%[\w.~-]+)?\]|([\da-f:.]+)(?:%[\w.~-]+)?)$/

function isOurAddress(name: string): boolean {
  const [literal, bare, open] = LITERAL.exec(name) ?? []
  if (literal === undefined || (bare !== undefined && !bare.includes(':'))) return false
  const canonical = URL.parse(`http://${bracketed(bare ?? open ?? literal)}/`)?.hostname ?? ''
  return USUAL.has(canonical) || ADDRESSES.test(canonical)
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}
