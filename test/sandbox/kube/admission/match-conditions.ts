/** `matchConditions` of webhooks and policies. */
import { celError, celValue, compile } from '../objects/cel.ts'
import { type JsonObject, stringAt } from '../objects/objects.ts'
import type { AdmissionRequest } from './admission.ts'

export type Matched =
  | { readonly outcome: 'match' }
  | { readonly outcome: 'no-match'; readonly condition: string }
  | { readonly outcome: 'error'; readonly message: string }

/**
 * All conditions must be true. One that is false decides even if others fail; otherwise a failure is the outcome, and
 * the webhook's failure policy decides.
 *
 * `namespaceObject` exists but is empty here, as on real servers: an expression that uses it is accepted and fails
 * at run time with "no such key".
 *
 * @param request the request as in an AdmissionReview, without the objects
 */
export function evaluate(
  conditions: readonly JsonObject[],
  admission: Pick<AdmissionRequest, 'object' | 'oldObject'>,
  request: JsonObject,
): Matched {
  if (conditions.length === 0) return { outcome: 'match' }
  const context = {
    object: celValue(admission.object ?? null),
    oldObject: celValue(admission.oldObject ?? null),
    request: celValue(request),
    namespaceObject: {},
  }
  let failure: string | undefined
  for (const condition of conditions) {
    const expression = stringAt(condition, 'expression') ?? ''
    try {
      const value = compile(expression)(context)
      if (value === false) return { outcome: 'no-match', condition: stringAt(condition, 'name') ?? '' }
      if (value !== true) throw new Error('cel expression must evaluate to a bool')
    } catch (error) {
      failure ??= `expression '${expression}' resulted in error: ${celError(error)}`
    }
  }
  return failure === undefined ? { outcome: 'match' } : { outcome: 'error', message: failure }
}
