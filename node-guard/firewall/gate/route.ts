import type { Route } from '../../../common/block/dial.ts'
import { type Exec, whyFailed } from '../process/exec.ts'

/**
 * Gives the pod a way to metadata addresses it has no route to (IPv6-only and IPv4-only pods): without one the kernel
 * gives up before the nat hook, and the redirect never sees the packet. The way is a local route on lo, not an
 * address: an address would also answer to neighbours, and would take port 80 from apps that listen on every address.
 *
 * @returns a sentence for each address where that failed; such an app reaches the sidecar by the other family
 */
export async function addMissingRoutes(
  exec: Exec,
  routeTo: (address: string) => Promise<Route>,
  metadata: readonly string[],
): Promise<string[]> {
  const failures: string[] = []
  for (const address of metadata) {
    if ((await routeTo(address)) !== 'none') continue
    const length = address.includes(':') ? 128 : 32
    const result = await exec('ip', ['route', 'replace', 'local', `${address}/${length}`, 'dev', 'lo'])
    if (result.code !== 0) failures.push(`${address} has no route in this pod: ${whyFailed('ip', result)}`)
  }
  return failures
}
