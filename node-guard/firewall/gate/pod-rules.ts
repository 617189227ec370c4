import type { Logger } from '../../../common/log.ts'
import { tryRuleset } from '../nft/table.ts'
import type { Exec } from '../process/exec.ts'
import type { Purpose, RedirectRuleset } from '../rules/pod.ts'
import { inNewPod, proofRuleset, redirectRuleset } from '../rules/pod-nft.ts'

/** The pod's rules: by nft, or by iptables where nft does not work in this pod. */
type PodRules = {
  /** Puts these rules in the place of the last ones. Returns why it could not, or undefined. */
  readonly load: (purpose: Purpose) => Promise<string | undefined>
}

/**
 * Loads by nft until it says that it never will work here (not installed, or a kernel without what the rules need);
 * from then on by iptables. A passing failure is no reason to change: the other's rules would stay.
 */
export function createPodRules(exec: Exec, options: RedirectRuleset, log: Logger): PodRules {
  const { metadata, sidecarPort } = options
  const quick = { proof: inNewPod.proof(metadata, sidecarPort), redirect: inNewPod.redirect(options) }
  const rulesets = { proof: proofRuleset(metadata, sidecarPort), redirect: redirectRuleset(options) }
  /** Whatever keeps the quick one from being loaded, the whole one says it, or replaces it. */
  const loadByNft = async (purpose: Purpose) =>
    (await tryRuleset(exec, quick[purpose])) && (await tryRuleset(exec, rulesets[purpose]))
  let why: string | undefined
  return {
    load: async (purpose) => {
      if (why === undefined) {
        const failed = await loadByNft(purpose)
        if (!failed?.unusable) return failed?.detail
        why = failed.detail
        log.info('nft does not work in this pod, iptables is tried', { detail: why })
      }
      // Only where it is needed: every pod's start would pay for it.
      const { loadByIptables } = await import('./iptables.ts')
      const failed = await loadByIptables(exec, options, purpose)
      return failed === undefined ? undefined : `${why}; ${failed}`
    },
  }
}
