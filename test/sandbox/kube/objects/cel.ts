/** CEL expressions, evaluated as by the real server, with its texts. */
import { Environment } from '@marcbachmann/cel-js'
import { isObject } from './objects.ts'

const ENVIRONMENT = new Environment({
  enableOptionalTypes: true,
  unlistedVariablesAreDyn: true,
  homogeneousAggregateLiterals: false,
})

type Program = (context: Record<string, unknown>) => unknown
const programs = new Map<string, Program>()

export function compile(expression: string): Program {
  let program = programs.get(expression)
  if (program === undefined) {
    program = ENVIRONMENT.parse(expression) as Program
    programs.set(expression, program)
  }
  return program
}

/** Integers of JSON become CEL ints, which are bigints in the library. */
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
    throw new Error(celError(error))
  }
}

/** The text of the real server's CEL: the summary in lower case, without the library's excerpt of the source. */
export function celError(error: unknown): string {
  const text = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
  return text.replace(/^No such key/, 'no such key')
}

/** Syntax errors, for validation of the configuration. */
export function compilationError(expression: string): string | undefined {
  try {
    compile(expression)
    return undefined
  } catch (error) {
    return celError(error)
  }
}
