import type { InjectionSettings } from '../injection-settings.ts'
import { decide } from './decide.ts'
import type { ReviewRequest } from './review.ts'
import type { ReviewContext, Verdict } from './verdict.ts'

/** Handles `/mutate`: adds the sidecar at the creation of a pod. */
export async function mutate(
  { operation, resource, subResource, whole }: ReviewRequest,
  { namespace, inTurn }: ReviewContext,
  settings: InjectionSettings,
): Promise<Verdict> {
  if (operation !== 'CREATE' || resource !== 'pods' || subResource !== '')
    return { kind: 'skip', reason: 'not-a-pod-creation', warnings: [] }
  const where = await namespace()
  return inTurn(() => decide(whole(), where, settings))
}
