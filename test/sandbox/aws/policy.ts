/** IAM's evaluation of identity policies and trust policies for STS actions. */
import { conditionHolds, list, type RequestContext, substitute } from './condition.ts'
import { globMatches } from './iam-glob.ts'
import type { PolicyDocument, Statement } from './model.ts'

/** The signer of a request, as policies see it. */
export type Caller = {
  /** User ARN, or the assumed-role ARN of a session. */
  readonly arn: string
  readonly account: string
  /** ARN of the role behind a session. */
  readonly roleArn: string | undefined
  /** Identity policy of the user or role. */
  readonly statements: readonly Statement[]
  /** Session policy of the session; undefined if there is none. */
  readonly sessionPolicy: readonly Statement[] | undefined
}

export type Verdict = 'allow' | 'deny' | 'none'

/** Evaluates identity statements: an explicit deny beats any allow. */
function evaluateIdentity(
  statements: readonly Statement[],
  action: string,
  resource: string,
  context: RequestContext,
): Verdict {
  let verdict: Verdict = 'none'
  for (const statement of statements) {
    const applies =
      actionMatches(statement, action) &&
      list(statement.Resource).some((glob) => globMatches(substitute(glob, context), resource)) &&
      conditionHolds(statement.Condition, context)
    if (!applies) continue
    if (statement.Effect === 'Deny') return 'deny'
    verdict = 'allow'
  }
  return verdict
}

/**
 * Evaluates a trust policy for a caller. `direct`: an allow names the caller (its role, its session, its user, or
 * everybody); `account`: an allow names the caller's account, which only delegates to that account's own policies.
 */
function evaluateTrust(
  trust: PolicyDocument,
  caller: Caller,
  action: string,
  context: RequestContext,
): 'direct' | 'account' | 'deny' | 'none' {
  let verdict: 'direct' | 'account' | 'none' = 'none'
  for (const statement of trust.Statement) {
    const how = principalMatches(statement, caller)
    if (how === undefined || !actionMatches(statement, action)) continue
    if (!conditionHolds(statement.Condition, context)) continue
    if (statement.Effect === 'Deny') return 'deny'
    if (verdict !== 'direct') verdict = how
  }
  return verdict
}

/**
 * Whether a caller may perform an STS action on a role. Both sides must agree, except that inside one account a
 * trust policy that names the caller is enough by itself (IAM User Guide, "Policy evaluation logic"). A deny on
 * either side takes precedence.
 */
export function mayActOnRole(
  caller: Caller,
  role: { readonly arn: string; readonly account: string; readonly trustPolicy: PolicyDocument },
  action: string,
  context: RequestContext,
): boolean {
  const trust = evaluateTrust(role.trustPolicy, caller, action, context)
  const identity = evaluateIdentity(caller.statements, action, role.arn, context)
  if (trust === 'deny' || trust === 'none' || identity === 'deny') return false
  if (caller.sessionPolicy && evaluateIdentity(caller.sessionPolicy, action, role.arn, context) !== 'allow')
    return false
  const trustIsEnough = trust === 'direct' && caller.account === role.account
  return trustIsEnough || identity === 'allow'
}

/** Evaluates a trust policy for a caller of a federated provider: no identity policy applies, so the trust policy decides alone. */
export function evaluateFederatedTrust(
  trust: PolicyDocument,
  provider: string,
  action: string,
  context: RequestContext,
): Verdict {
  let verdict: Verdict = 'none'
  for (const statement of trust.Statement) {
    const principal = statement.Principal
    const isNamed = principal === '*' || list(principal?.Federated).includes(provider)
    if (!isNamed || !actionMatches(statement, action)) continue
    if (!conditionHolds(statement.Condition, context)) continue
    if (statement.Effect === 'Deny') return 'deny'
    verdict = 'allow'
  }
  return verdict
}

function actionMatches(statement: Statement, action: string): boolean {
  return list(statement.Action).some((glob) => globMatches(glob.toLowerCase(), action.toLowerCase()))
}

function principalMatches(statement: Statement, caller: Caller): 'direct' | 'account' | undefined {
  const principal = statement.Principal
  const names = principal === '*' ? ['*'] : list(principal?.AWS)
  if (names.some((name) => name === '*' || name === caller.arn || name === caller.roleArn)) return 'direct'
  const root = new RegExp(`^(?:arn:aws(?:-[a-z]+)*:iam::)?${caller.account}(?::root)?$`)
  return names.some((name) => root.test(name)) ? 'account' : undefined
}
