/** Condition blocks of IAM policies (IAM User Guide, "Condition operators"). */
import { arnMatches, globMatches } from './iam-glob.ts'
import type { OneOrMore } from './model.ts'

/** Condition keys of a request, lower case (IAM compares key names without case), and their values. */
export type RequestContext = ReadonlyMap<string, readonly string[]>

type Test = (value: string, wanted: string) => boolean

const equals: Test = (value, wanted) => value === wanted
const equalsIgnoreCase: Test = (value, wanted) => value.toLowerCase() === wanted.toLowerCase()
const like: Test = (value, wanted) => globMatches(wanted, value)
const arn: Test = (value, wanted) => arnMatches(wanted, value)

/** Operator → how one value is compared, and whether the operator negates. */
const OPERATORS: Readonly<Record<string, readonly [Test, negated: boolean]>> = {
  StringEquals: [equals, false],
  StringNotEquals: [equals, true],
  StringEqualsIgnoreCase: [equalsIgnoreCase, false],
  StringNotEqualsIgnoreCase: [equalsIgnoreCase, true],
  StringLike: [like, false],
  StringNotLike: [like, true],
  ArnEquals: [arn, false],
  ArnLike: [arn, false],
  ArnNotEquals: [arn, true],
  ArnNotLike: [arn, true],
}

type Operator = {
  readonly name: string
  readonly quantifier: 'all' | 'any' | undefined
  readonly ifExists: boolean
}

/** Parses an operator; undefined if this stand-in cannot evaluate it (so that the policy is refused, not misread). */
export function parseOperator(text: string): Operator | undefined {
  const groups = /^(?:For(?<q>All|Any)Values?:)?(?<name>[A-Za-z]+?)(?<if>IfExists)?$/.exec(text)?.groups
  const name = groups?.name
  if (!groups || !name || (name !== 'Null' && !Object.hasOwn(OPERATORS, name))) return undefined
  const quantifier = groups.q === 'All' ? 'all' : groups.q === 'Any' ? 'any' : undefined
  return { name, quantifier, ifExists: groups.if !== undefined }
}

/** Whether every operator and every key of a condition block is satisfied. A missing block always is. */
export function conditionHolds(
  condition: Readonly<Record<string, Readonly<Record<string, OneOrMore>>>> | undefined,
  context: RequestContext,
): boolean {
  return Object.entries(condition ?? {}).every(([text, keys]) => {
    const operator = parseOperator(text)
    if (!operator) return false
    return Object.entries(keys).every(([key, wanted]) =>
      keyHolds(operator, context.get(key.toLowerCase()), list(wanted), context),
    )
  })
}

function keyHolds(
  operator: Operator,
  values: readonly string[] | undefined,
  wanted: readonly string[],
  context: RequestContext,
): boolean {
  if (operator.name === 'Null') return wanted.includes(String(values === undefined))
  const [test, negated] = OPERATORS[operator.name] ?? [equals, false]
  // A key that the request does not have does not satisfy a positive operator, but satisfies a negated one.
  if (values === undefined) return operator.ifExists || operator.quantifier === 'all' || negated
  const matches = (value: string) => wanted.some((one) => test(value, substitute(one, context)))
  const holds = (value: string) => matches(value) !== negated
  if (operator.quantifier === 'all') return values.every(holds)
  if (operator.quantifier === 'any') return values.some(holds)
  return negated ? values.every(holds) : values.some(holds)
}

/** Substitutes policy variables such as `${aws:PrincipalTag/team}`; an absent one matches nothing. */
export function substitute(text: string, context: RequestContext): string {
  return text.replace(
    /\$\{([^}]+)\}/g,
    (_, key: string) => context.get(key.toLowerCase())?.[0] ?? '\u0000absent',
  )
}

export function list(value: OneOrMore | undefined): readonly string[] {
  if (value === undefined) return []
  return typeof value === 'string' ? [value] : value
}
