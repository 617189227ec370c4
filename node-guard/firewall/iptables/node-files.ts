import { access, readFile } from 'node:fs/promises'
import type { Family } from '../rules/iptables.ts'

/** Reads files of the kernel about this network namespace. */
export type NodeFiles = {
  readonly exists: (file: string) => Promise<boolean>
  /** Empty if the file is missing. */
  readonly read: (file: string) => Promise<string>
}

/** The real files, as this process sees them. */
export const NODE_FILES: NodeFiles = {
  exists: (file) =>
    access(file).then(
      () => true,
      () => false,
    ),
  read: (file) => readFile(file, 'utf8').catch(() => ''),
}

/** The tables of iptables-legacy that are loaded. Listing them by iptables-legacy-save would make the kernel load more. */
export async function legacyTables(
  node: Pick<NodeFiles, 'read'>,
  family: Family,
): Promise<readonly string[]> {
  const names = await node.read(`/proc/net/${family === 6 ? 'ip6' : 'ip'}_tables_names`)
  return names.split('\n').filter((name) => name !== '')
}

/** The address families of the kernel. One without IPv6 (`ipv6.disable=1`) forwards none of it, and ip6tables fails there. */
export async function familiesOf(node: Pick<NodeFiles, 'exists'>): Promise<Family[]> {
  return (await node.exists('/proc/net/if_inet6')) ? [4, 6] : [4]
}
