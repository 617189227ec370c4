import type { InjectionSettings } from '../injection-settings.ts'
import { accountOf } from './account.ts'
import { decide } from './decide.ts'
import type { ReviewRequest } from './review.ts'
import type { ReviewContext, Verdict } from './verdict.ts'

/** Handles `/mutate`: adds the sidecar at the creation of a pod. */
export async function mutate(
  { operation, resource, subResource, object, whole }: ReviewRequest,
  context: ReviewContext,
  settings: InjectionSettings,
): Promise<Verdict> {
  if (operation !== 'CREATE' || resource !== 'pods' || subResource !== '')
    return { kind: 'skip', reason: 'not-a-pod-creation', warnings: [] }
  const namespace = await context.lookUpNamespace()
  const account = await accountOf(object, namespace, context, settings)
  return context.inTurn(() => decide(whole(), namespace, settings, account))
}
