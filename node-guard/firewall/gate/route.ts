import type { Route } from '../../../common/block/dial.ts'
import { type Exec, whyFailed } from '../process/exec.ts'

/**
 * Adds routes to metadata addresses that the pod cannot reach (in IPv6-only and IPv4-only pods): without a route the
 * kernel gives up before the nat hook, so that the redirect never sees the packet. A local route on lo, not an address:
 * an address would also answer to neighbours, and would take port 80 from apps that listen on every address.
 *
 * @returns a sentence for each address where that failed; the app then reaches the sidecar by the other family
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
