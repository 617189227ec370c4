import type { BackendName } from '../backend/backend.ts'
import { familiesOf, NODE_FILES } from '../iptables/node-files.ts'
import type { Exec } from '../process/exec.ts'
import type { HostNetworkBackend } from './backend.ts'
import { iptablesHostNetwork } from './iptables.ts'
import { nftHostNetwork } from './nft.ts'

/**
 * The backends by preference. iptables-legacy is last, since it cannot reset connections (`HOST_TABLE`).
 *
 * @param setting `--backend`
 * @param lockFile of iptables-legacy; see `Iptables`
 */
export function hostNetworkBackends(
  exec: Exec,
  setting: 'auto' | 'nft' | 'iptables' = 'auto',
  lockFile?: string,
): readonly HostNetworkBackend[] {
  const families = () => familiesOf(NODE_FILES)
  const nft = nftHostNetwork(exec)
  const iptables = (['nft', 'legacy'] as const).map((variant) =>
    iptablesHostNetwork({ exec, variant, families, lockFile }),
  )
  return { auto: [nft, ...iptables], nft: [nft], iptables }[setting]
}

/**
 * Removes the rules of every backend, except of the one that is in use.
 *
 * @returns for each backend that failed, why its rules could not be removed
 */
export async function removeHostNetwork(exec: Exec, used?: BackendName): Promise<readonly string[]> {
  const failures: string[] = []
  for (const backend of hostNetworkBackends(exec)) {
    const failure = backend.name === used ? undefined : await backend.remove()
    if (failure && (!failure.unusable || failure.mayRemain)) failures.push(failure.detail)
  }
  return failures
}
