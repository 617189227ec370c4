import type { InjectionSettings } from '../injection-settings.ts'
import { decide } from './decide.ts'
import type { ReviewRequest } from './review.ts'
import type { ReviewContext, Verdict } from './verdict.ts'

/** Handles `/mutate`: adds the sidecar at the creation of a pod. */
export async function mutate(
  { operation, resource, subResource, whole }: ReviewRequest,
  { lookUpNamespace, inTurn }: ReviewContext,
  settings: InjectionSettings,
): Promise<Verdict> {
  if (operation !== 'CREATE' || resource !== 'pods' || subResource !== '')
    return { kind: 'skip', reason: 'not-a-pod-creation', warnings: [] }
  const namespace = await lookUpNamespace()
  return inTurn(() => decide(whole(), namespace, settings))
}
