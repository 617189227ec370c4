/** `matchConditions` of webhooks and policies: CEL, evaluated as the real server does, with its texts. */
import { Environment } from '@marcbachmann/cel-js'
import { isObject, type JsonObject, stringAt } from '../objects/objects.ts'
import type { AdmissionRequest } from './admission.ts'

const ENVIRONMENT = new Environment({
  enableOptionalTypes: true,
  unlistedVariablesAreDyn: true,
  homogeneousAggregateLiterals: false,
})

type Program = (context: Record<string, unknown>) => unknown
const programs = new Map<string, Program>()

function compile(expression: string): Program {
  let program = programs.get(expression)
  if (program === undefined) {
    program = ENVIRONMENT.parse(expression) as Program
    programs.set(expression, program)
  }
  return program
}

/** Integers of JSON are CEL ints: the library's ints are bigints. */
export function celValue(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(celValue)
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, celValue(item)]))
}

/**
 * The value of an expression.
 *
 * @param context variables, by `celValue`
 * @throws Error with the real server's text
 */
export function cel(expression: string, context: Record<string, unknown>): unknown {
  try {
    return compile(expression)(context)
  } catch (error) {
    throw new Error(messageOf(error))
  }
}

/** The text of the real server's CEL: the summary in lower case, without the library's excerpt of the source. */
function messageOf(error: unknown): string {
  const text = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
  return text.replace(/^No such key/, 'no such key')
}

/** Syntax errors, for validation of the configuration. */
export function compilationError(expression: string): string | undefined {
  try {
    compile(expression)
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

export type Matched =
  | { readonly outcome: 'match' }
  | { readonly outcome: 'no-match'; readonly condition: string }
  | { readonly outcome: 'error'; readonly message: string }

/**
 * All conditions must hold. One that is false decides even where others fail; else a failure is the outcome, and
 * the webhook's failure policy says what it means.
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
      failure ??= `expression '${expression}' resulted in error: ${messageOf(error)}`
    }
  }
  return failure === undefined ? { outcome: 'match' } : { outcome: 'error', message: failure }
}
