/** In how many stages a pod starts: with the sidecar alone, whose start hook lets it go on, or with a gate behind the sidecar. */
import type { InjectionSettings } from '../injection-settings.ts'
import type { Pod } from '../pod/pod.ts'
import type { RedirectMode } from '../settings.ts'

export type Start = 'one-stage' | 'two-stage'

/**
 * Mode `nft` needs a gate: it loads the redirect, for which the sidecar would have to keep NET_ADMIN. So does a pod in its host's IPC
 * namespace, whose `/dev/shm` is the host's: there the file that the start hook waits for would be any other pod's, too.
 */
export function startOf(
  { spec }: Pick<Pod, 'spec'>,
  redirect: RedirectMode,
  { start }: Pick<InjectionSettings, 'start'>,
): Start {
  return start === 'auto' && redirect === 'env' && !sharesHostMemory(spec) ? 'one-stage' : 'two-stage'
}

/** Whether its containers have the host's `/dev/shm`. */
export const sharesHostMemory = ({ hostIPC }: Pod['spec']): boolean => hostIPC === true
