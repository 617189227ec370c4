import { readFileSync } from 'node:fs'

/**
 * Interfaces of the default routes, sorted.
 *
 * @param ipv4 text of /proc/net/route: interface, destination, gateway, flags, refcount, use, metric, mask, …
 * @param ipv6 text of /proc/net/ipv6_route: destination, prefix length, …, flags, interface
 */
export function parseUplinks(ipv4: string, ipv6: string): string[] {
  const found = new Set<string>()
  for (const line of ipv4.split('\n').slice(1)) {
    const [name, destination, , , , , , mask] = line.split(/\s+/)
    if (name && /^0+$/.test(destination ?? '') && /^0+$/.test(mask ?? '')) found.add(name)
  }
  for (const line of ipv6.split('\n')) {
    const fields = line.trim().split(/\s+/)
    const name = fields[9]
    if (name && /^0+$/.test(fields[0] ?? '') && /^0+$/.test(fields[1] ?? '')) found.add(name)
  }
  // lo carries the kernel's "unreachable" default of IPv6; `*` stands for a route without interface.
  found.delete('lo')
  found.delete('*')
  return [...found].sort()
}

/** {@link parseUplinks} of this network namespace. A file is missing where the kernel lacks that address family. */
export function readUplinks(): string[] {
  return parseUplinks(textOf('/proc/net/route'), textOf('/proc/net/ipv6_route'))
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
