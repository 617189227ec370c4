/** Managed policies that narrow a pod's session (`PolicyArns` of AssumeRole), as its annotation names them. */
import { type Failed, failed } from './result.ts'
import { quote, type Role } from './role.ts'

type PoliciesResult = { readonly ok: true; readonly arns: readonly string[] } | Failed

/** AWS's limits for the number of ARNs and for their total length. */
const MAX_POLICIES = 10
const MAX_CHARACTERS = 2048
// IAM: policy name [\w+=,.@-]{1,128}. Its path may contain all printable characters; those that nobody uses are not accepted, as in roles.
const POLICY_ARN =
  /^arn:(?<partition>aws(?:-[a-z]+)*):iam::(?<account>\d{12}|aws):policy\/(?:[\w+=,.@-]+\/)*[\w+=,.@-]{1,128}$/
const EXAMPLE = '["arn:aws:iam::aws:policy/ReadOnlyAccess"]'

/**
 * Reads the annotation: a JSON array, because names of policies may contain commas. A list that cannot be parsed completely is refused,
 * because otherwise the session would have more permissions than its author believes.
 *
 * @param role the role that is narrowed, if its ARN is known: AWS requires policies of its account, or AWS managed ones
 * @returns the ARNs, at least one, or a sentence that completes "annotation … "
 */
export function parseSessionPolicies(text: string, role: Role | undefined): PoliciesResult {
  if (text.length > MAX_CHARACTERS) return failed(`is longer than ${MAX_CHARACTERS} characters`)
  const arns = textsOf(text)
  if (arns === undefined)
    return failed(`must be a JSON array of managed policy ARNs such as ${EXAMPLE}, not ${quote(text)}`)
  if (arns.length === 0 || arns.length > MAX_POLICIES)
    return failed(
      `must name 1 to ${MAX_POLICIES} managed policies, not ${arns.length}: without the annotation the pod has all rights of its role`,
    )
  const twice = arns.find((arn, index) => arns.indexOf(arn) < index)
  if (twice !== undefined) return failed(`names ${quote(twice)} twice`)
  const problem = arns.map((arn) => whyNotPolicy(arn, role)).find((one) => one !== undefined)
  return problem === undefined ? { ok: true, arns } : failed(problem)
}

function whyNotPolicy(arn: string, role: Role | undefined): string | undefined {
  const { partition, account } = POLICY_ARN.exec(arn)?.groups ?? {}
  if (account === undefined)
    return `has ${quote(arn)}, which is not a managed policy ARN of the form arn:aws:iam::<12 digits or aws>:policy/<path/name>`
  if (role === undefined) return undefined
  const isNear = partition === role.partition && (account === 'aws' || account === role.account)
  return isNear
    ? undefined
    : `has ${quote(arn)}, which is neither in the account of role ${quote(role.arn)} nor AWS's own there, as AWS demands`
}

function textsOf(text: string): readonly string[] | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) && value.every((entry) => typeof entry === 'string') ? value : undefined
  } catch {
    return undefined
  }
}
