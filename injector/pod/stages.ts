/** Whether a pod starts in one stage, with a sidecar whose start hook holds back the app, or in two, with a gate after the sidecar. */
import type { InjectionSettings } from '../injection-settings.ts'
import type { RedirectMode } from '../settings.ts'
import type { Pod } from './pod.ts'

export type Start = 'one-stage' | 'two-stage'

/**
 * Mode `nft` needs a gate to load the redirect: otherwise the sidecar would have to keep NET_ADMIN. A pod in its host's IPC namespace
 * needs one too: its `/dev/shm` is the host's, and all such pods would share the file that the start hook waits for.
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
