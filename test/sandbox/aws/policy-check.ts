/**
 * Refuses a policy that IAM would refuse, or that this stand-in cannot evaluate: a test with a typo in a policy
 * must get an error and not a puzzling AccessDenied.
 */
import { list, parseOperator } from './condition.ts'
import type { PolicyDocument, Statement } from './model.ts'

const MEMBERS = new Set(['Sid', 'Effect', 'Principal', 'Action', 'Resource', 'Condition'])
const ACTION = /^(?:\*|[a-z0-9-]+:[\w*?]+)$/i
const AWS_PRINCIPAL =
  /^(?:\*|\d{12}|arn:aws(?:-[a-z]+)*:(?:iam::\d{12}:(?:root|(?:role|user)\/[\w+=,.@/-]+)|sts::\d{12}:assumed-role\/[\w+=,.@:/-]+))$/

/** Throws a sentence unless this is a trust policy. */
export function checkTrustPolicy(policy: PolicyDocument): void {
  // IAM's default quota for a role trust policy; white space does not count, and is not sent here.
  if (JSON.stringify(policy).length > 4096) throw new Error('the trust policy is longer than 4096 characters')
  if (!Array.isArray(policy.Statement)) throw new Error('the trust policy has no Statement array')
  for (const statement of policy.Statement) {
    checkStatement(statement, 'trust policy')
    if (statement.Resource !== undefined) throw new Error('a trust policy must not have a Resource')
    checkPrincipal(statement)
  }
}

/** Throws a sentence unless these are statements of an identity or session policy. */
export function checkIdentityStatements(statements: readonly Statement[]): void {
  if (!Array.isArray(statements)) throw new Error('the policy is not an array of statements')
  for (const statement of statements) {
    checkStatement(statement, 'identity policy')
    if (statement.Principal !== undefined) throw new Error('an identity policy must not have a Principal')
    if (list(statement.Resource).length === 0)
      throw new Error('a statement of an identity policy has no Resource')
  }
}

const FEDERATED =
  /^(?:arn:aws(?:-[a-z]+)*:iam::\d{12}:oidc-provider\/[^\s*?]+|cognito-identity\.amazonaws\.com)$/

function checkStatement(statement: Statement, where: string): void {
  const strange = Object.keys(statement).find((member) => !MEMBERS.has(member))
  if (strange !== undefined)
    throw new Error(`a statement of the ${where} has a ${strange}, not evaluated here`)
  if (statement.Effect !== 'Allow' && statement.Effect !== 'Deny')
    throw new Error(`a statement of the ${where} has neither Effect Allow nor Deny`)
  const actions = list(statement.Action)
  const bad = actions.find((action) => !ACTION.test(action))
  if (actions.length === 0 || bad !== undefined)
    throw new Error(`a statement of the ${where} has the Action ${JSON.stringify(bad ?? null)}`)
  for (const [operator, keys] of Object.entries(statement.Condition ?? {})) {
    if (!parseOperator(operator)) throw new Error(`the condition operator ${operator} is not evaluated here`)
    if (typeof keys !== 'object' || Object.keys(keys).length === 0)
      throw new Error(`the condition operator ${operator} has no keys`)
  }
}

function checkPrincipal(statement: Statement): void {
  const { Principal: principal } = statement
  if (principal === '*') return
  if (principal === undefined || Object.keys(principal).length === 0)
    throw new Error('a statement of the trust policy has no Principal')
  const bad = list(principal.AWS).find((name) => !AWS_PRINCIPAL.test(name))
  if (bad !== undefined)
    throw new Error(`Invalid principal in policy: "AWS":"${bad}" (an ARN's wildcards are not allowed here)`)
  const stranger = list(principal.Federated).find((name) => !FEDERATED.test(name))
  if (stranger !== undefined)
    throw new Error(
      `Invalid principal in policy: "FEDERATED":"${stranger}" (not the ARN of an OIDC provider)`,
    )
}
