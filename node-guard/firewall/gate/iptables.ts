import { existsSync } from 'node:fs'
import { restoreInput } from '../iptables/chains.ts'
import { type Iptables, restore } from '../iptables/command.ts'
import { readSaved } from '../iptables/reading.ts'
import type { Exec } from '../process/exec.ts'
import type { Chain, Family } from '../rules/iptables.ts'
import type { Purpose, RedirectRuleset } from '../rules/pod.ts'
import { directChain, REDIRECT_CHAIN, redirectChain } from '../rules/pod-iptables.ts'

/** No other process of this container takes the lock, and its root filesystem may be read-only. */
const LOCK_FILE = '/dev/null'

/**
 * Loads the pod's rules by iptables: first in nat OUTPUT, where a mesh (Istio, Linkerd) appends its own. Of the nat tables
 * of the two variants, the one made last is traversed first; with our chain in both, a mesh comes after it, whichever
 * variant it uses and whenever it starts. iptables-legacy needs NET_RAW; without it only iptables-nft is used.
 *
 * @returns why neither variant could, or undefined
 */
export async function loadByIptables(
  exec: Exec,
  options: RedirectRuleset,
  purpose: Purpose,
): Promise<string | undefined> {
  // A kernel without IPv6 has nothing to redirect.
  const families: Family[] = existsSync('/proc/net/if_inet6') ? [4, 6] : [4]
  const variants = (['nft', 'legacy'] as const).map(async (variant) => {
    const loads = families.map((family) =>
      loadChains({ exec, variant, family, prefix: REDIRECT_CHAIN, lockFile: LOCK_FILE }, [
        redirectChain(options, purpose, family),
        directChain(options, purpose, family),
      ]),
    )
    return (await Promise.all(loads)).find((failed) => failed !== undefined)
  })
  const failures = (await Promise.all(variants)).filter((failed) => failed !== undefined)
  return failures.length < variants.length ? undefined : failures.join('; ')
}

async function loadChains(tool: Iptables, chains: readonly Chain[]): Promise<string | undefined> {
  const read = await readSaved(tool)
  if (!read.ok) return read.detail
  const result = await restore(tool, restoreInput(chains, read.saved))
  return result.ok ? undefined : result.detail
}
