/** Parameters of AssumeRole and their rules (the STS API's service model), with the API's own error texts. */
import type { Statement } from './model.ts'
import { checkIdentityStatements } from './policy-check.ts'
import { StsError, validationError } from './sts-error.ts'

export type AssumeRoleInput = {
  readonly roleArn: string
  readonly sessionName: string
  /** Seconds; undefined for the default of 3600. */
  readonly duration: number | undefined
  readonly externalId: string | undefined
  readonly sourceIdentity: string | undefined
  readonly tags: ReadonlyMap<string, string>
  readonly transitiveTagKeys: readonly string[]
  readonly policy: readonly Statement[] | undefined
  /** ARNs of managed policies. */
  readonly policyArns: readonly string[]
  /** Number of characters of the session policies and tags, from which the packed size is computed. */
  readonly packedLength: number
}

type Rule = {
  readonly min: number
  readonly max: number
  readonly pattern: RegExp
  /** The pattern as the API prints it. */
  readonly shown: string
}

export const ROLE_ARN: Rule = {
  min: 20,
  max: 2048,
  pattern: /^[\t\n\r\x20-\x7e\x85\u{a0}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]+$/u,
  shown: '[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF\\uE000-\\uFFFD\\u10000-\\u10FFFF]+',
}
export const SESSION_NAME: Rule = { min: 2, max: 64, pattern: /^[\w+=,.@-]*$/, shown: '[\\w+=,.@-]*' }
const EXTERNAL_ID: Rule = { min: 2, max: 1224, pattern: /^[\w+=,.@:/-]*$/, shown: '[\\w+=,.@:\\/-]*' }
const TAG_KEY: Rule = {
  min: 1,
  max: 128,
  pattern: /^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$/u,
  shown: '[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+',
}
const TAG_VALUE: Rule = {
  min: 0,
  max: 256,
  pattern: /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u,
  shown: '[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*',
}
const POLICY_MAX = 2048
const TAGS_MAX = 50
const POLICIES_MAX = 10
const UNSUPPORTED = ['SerialNumber', 'TokenCode', 'ProvidedContexts.member.1.ProviderArn']

/** Reads and checks the parameters. Throws ValidationError with every violated rule, as the API does. */
export function parseAssumeRole(params: URLSearchParams): AssumeRoleInput {
  const unsupported = UNSUPPORTED.find((name) => params.has(name))
  if (unsupported !== undefined)
    throw validationError(`The parameter ${unsupported} is not supported by this stand-in of STS.`)
  const tagList = members(params, 'Tags', ['Key', 'Value'])
  const policyArns = policyArnsOf(params)
  const transitiveTagKeys = members(params, 'TransitiveTagKeys', []).map(({ value }) => value ?? '')
  refuseProblems([
    ...textProblems('roleArn', params.get('RoleArn'), ROLE_ARN, true),
    ...textProblems('roleSessionName', params.get('RoleSessionName'), SESSION_NAME, true),
    ...textProblems('externalId', params.get('ExternalId'), EXTERNAL_ID, false),
    ...textProblems('sourceIdentity', params.get('SourceIdentity'), SESSION_NAME, false),
    ...tagProblems(tagList, transitiveTagKeys),
    ...policyProblems(policyArns, params.get('Policy')),
    ...durationProblems(params.get('DurationSeconds')),
  ])
  const roleArn = checkedRoleArn(params.get('RoleArn') ?? '')
  const sourceIdentity = params.get('SourceIdentity') ?? undefined
  if (sourceIdentity?.startsWith('aws:'))
    throw validationError('The SourceIdentity must not begin with aws:.')
  const duration = params.get('DurationSeconds')
  return {
    roleArn,
    sessionName: params.get('RoleSessionName') ?? '',
    duration: duration === null ? undefined : Number(duration),
    externalId: params.get('ExternalId') ?? undefined,
    sourceIdentity,
    tags: checkedTags(tagList),
    transitiveTagKeys,
    policy: parsePolicy(params.get('Policy')),
    policyArns,
    packedLength:
      policyLength(policyArns, params.get('Policy')) +
      tagList.map((t) => `${t.Key}${t.Value}`).join('').length,
  }
}

/** Throws ValidationError with every violated rule, if there is any. */
export function refuseProblems(problems: readonly string[]): void {
  if (problems.length > 0)
    throw validationError(
      `${problems.length} validation error${problems.length > 1 ? 's' : ''} detected: ${problems.join('; ')}`,
    )
}

/** @throws ValidationError if it is not the ARN of a role */
export function checkedRoleArn(roleArn: string): string {
  if (/^arn:aws(?:-[a-z]+)*:iam::\d{12}:role\/[\x21-\x7e]+$/.test(roleArn)) return roleArn
  throw validationError(`${roleArn} is invalid`)
}

const failed = (value: string | null, at: string, constraint: string) =>
  `Value ${value === null ? 'null' : `'${value.slice(0, 300)}'`} at '${at}' failed to satisfy constraint: Member must ${constraint}`

export function textProblems(at: string, value: string | null, rule: Rule, required: boolean): string[] {
  if (value === null) return required ? [failed(null, at, 'not be null')] : []
  const problems: string[] = []
  if (value.length < rule.min)
    problems.push(failed(value, at, `have length greater than or equal to ${rule.min}`))
  if (value.length > rule.max)
    problems.push(failed(value, at, `have length less than or equal to ${rule.max}`))
  if (value !== '' && !rule.pattern.test(value))
    problems.push(failed(value, at, `satisfy regular expression pattern: ${rule.shown}`))
  return problems
}

export function durationProblems(text: string | null): string[] {
  if (text === null) return []
  if (!/^-?\d{1,10}$/.test(text))
    throw new StsError('MalformedInput', 400, 'DurationSeconds is not an integer')
  const seconds = Number(text)
  if (seconds < 900) return [failed(text, 'durationSeconds', 'have value greater than or equal to 900')]
  return seconds > 43_200 ? [failed(text, 'durationSeconds', 'have value less than or equal to 43200')] : []
}

type Member = { readonly [field: string]: string | undefined }

/** The entries `NAME.member.N` (as `value`) or `NAME.member.N.FIELD` of a list parameter, in their order. */
function members(params: URLSearchParams, name: string, fields: readonly string[]): Member[] {
  const out: Member[] = []
  for (let n = 1; ; n++) {
    const prefix = `${name}.member.${n}`
    const entries = fields.map((field) => [field, params.get(`${prefix}.${field}`) ?? undefined] as const)
    const own = params.get(prefix)
    if (own === null && entries.every(([, value]) => value === undefined)) return out
    out.push({ ...Object.fromEntries(entries), value: own ?? undefined })
  }
}

function tagProblems(tags: readonly Member[], transitive: readonly string[]): string[] {
  const tooMany = (at: string) => failed('[…]', at, `have length less than or equal to ${TAGS_MAX}`)
  return [
    ...(tags.length > TAGS_MAX ? [tooMany('tags')] : []),
    ...(transitive.length > TAGS_MAX ? [tooMany('transitiveTagKeys')] : []),
    ...tags.flatMap((tag, i) => [
      ...textProblems(`tags.${i + 1}.member.key`, tag.Key ?? null, TAG_KEY, true),
      ...textProblems(`tags.${i + 1}.member.value`, tag.Value ?? null, TAG_VALUE, true),
    ]),
    ...transitive.flatMap((key, i) => textProblems(`transitiveTagKeys.${i + 1}.member`, key, TAG_KEY, true)),
  ]
}

/** The parameter `PolicyArns`. */
export const policyArnsOf = (params: URLSearchParams): string[] =>
  members(params, 'PolicyArns', ['arn']).map(({ arn }) => arn ?? '')

export const policyLength = (arns: readonly string[], policy: string | null): number =>
  arns.join('').length + (policy ?? '').length

/** At most ten, each an ARN; and the plain text of all session policies together has a limit (STS API reference, "PolicyArns"). */
export function policyProblems(arns: readonly string[], policy: string | null): string[] {
  const isTooLong = arns.length > 0 && policyLength(arns, policy) > POLICY_MAX
  return [
    ...(arns.length > POLICIES_MAX
      ? [failed('[…]', 'policyArns', `have length less than or equal to ${POLICIES_MAX}`)]
      : []),
    ...arns.flatMap((arn, i) => textProblems(`policyArns.${i + 1}.member.arn`, arn, ROLE_ARN, true)),
    ...(isTooLong ? [failed('[…]', 'policyArns', `have length less than or equal to ${POLICY_MAX}`)] : []),
  ]
}

function checkedTags(list: readonly Member[]): Map<string, string> {
  const tags = new Map(list.map((tag) => [tag.Key ?? '', tag.Value ?? '']))
  const folded = new Set(list.map((tag) => tag.Key?.toLowerCase()))
  if (folded.size !== list.length)
    throw new StsError(
      'InvalidParameterValue',
      400,
      'Duplicate tag keys found. Please note that Tag keys are case insensitive.',
    )
  if ([...folded].some((key) => key?.startsWith('aws:')))
    throw new StsError('InvalidParameterValue', 400, 'Tag keys beginning with aws: are reserved for AWS use.')
  return tags
}

export function parsePolicy(text: string | null): readonly Statement[] | undefined {
  if (text === null) return undefined
  if (text.length > POLICY_MAX || text === '')
    throw validationError(
      `1 validation error detected: ${failed(text, 'policy', `have length less than or equal to ${POLICY_MAX}`)}`,
    )
  try {
    const { Statement: statements } = JSON.parse(text) as { Statement: Statement | readonly Statement[] }
    const list = Array.isArray(statements) ? statements : [statements as Statement]
    checkIdentityStatements(list)
    return list
  } catch {
    throw new StsError('MalformedPolicyDocument', 400, 'The policy is not in the valid JSON format.')
  }
}
