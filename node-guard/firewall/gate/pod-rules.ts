import type { Logger } from '../../../common/log.ts'
import { applyRuleset } from '../nft/table.ts'
import type { Exec } from '../process/exec.ts'
import type { Purpose, RedirectRuleset } from '../rules/pod.ts'
import { newPodRuleset, proofRuleset, redirectRuleset } from '../rules/pod-nft.ts'

/**
 * Makes the loader of the pod's rules. It uses nft until nft reports that it cannot work here (not installed, or a kernel
 * that lacks what the rules need), from then on iptables. A temporary failure is no reason to change, since the rules of
 * nft would stay.
 */
export function createPodRules(exec: Exec, options: RedirectRuleset, log: Logger) {
  const { metadata, sidecarPort } = options
  const quick = {
    proof: newPodRuleset.proof(metadata, sidecarPort),
    redirect: newPodRuleset.redirect(options),
  }
  const rulesets = { proof: proofRuleset(metadata, sidecarPort), redirect: redirectRuleset(options) }
  /** If the quick ruleset cannot be loaded, for whatever reason, the complete one replaces it or gives the reason. */
  const loadByNft = async (purpose: Purpose) =>
    (await applyRuleset(exec, quick[purpose])) && (await applyRuleset(exec, rulesets[purpose]))
  let why: string | undefined
  return {
    /** Replaces the previous rules by these. Returns why it could not, or undefined. */
    load: async (purpose: Purpose) => {
      if (why === undefined) {
        const failed = await loadByNft(purpose)
        if (!failed?.unusable) return failed?.detail
        why = failed.detail
        log.info('nft does not work in this pod, iptables is tried', { detail: why })
      }
      // Imported only when needed, since it would slow down the start of every pod.
      const { loadByIptables } = await import('./iptables.ts')
      const failed = await loadByIptables(exec, options, purpose)
      return failed === undefined ? undefined : `${why}; ${failed}`
    },
  }
}
