/** AssumeRole: whether a caller gets the role, for how long, and with which session. */
import type { AssumeRoleInput } from './assume-role-input.ts'
import type { RequestContext } from './condition.ts'
import type { Iam, KeyOwner, Role, Session } from './iam.ts'
import { mayActOnRole } from './policy.ts'
import { expiryOf, packedPercent, sessionArn } from './session.ts'
import { accessDenied, StsError, validationError } from './sts-error.ts'
import type { Elements } from './xml.ts'

const HOUR = 3600

/** Texts and limits as in AWS; what the documentation leaves open is a setting. */
export type AssumeRoleOptions = {
  readonly iam: Iam
  /** Milliseconds since the epoch. */
  readonly now: number
  /** Whether a session created by the instance profile counts as role chaining. */
  readonly instanceProfileIsChaining: boolean
}

/** Decides one AssumeRole call. Returns the new session; throws the StsError that AWS would answer. */
export function assumeRole(owner: KeyOwner, input: AssumeRoleInput, options: AssumeRoleOptions): Session {
  const { iam, now } = options
  const { caller, session: from } = owner
  const chained =
    from !== undefined &&
    (from.by === 'assume-role' || from.by === 'web-identity' || options.instanceProfileIsChaining)
  // This depends only on the caller and the request, so it comes before anything that needs the role.
  if (chained && input.duration !== undefined && input.duration > HOUR)
    throw validationError(
      'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.',
    )
  const { tags, transitive } = sessionTags(input, from)
  const sourceIdentity = from?.sourceIdentity ?? input.sourceIdentity
  const actions = ['sts:AssumeRole']
  if (tags.size > 0) actions.push('sts:TagSession')
  if (sourceIdentity !== undefined) actions.push('sts:SetSourceIdentity')
  const role = authorize(owner, input, actions, iam, requestContext(owner, input, sourceIdentity))
  if ((input.sourceIdentity ?? sourceIdentity) !== sourceIdentity)
    throw accessDenied(caller.arn, 'sts:SetSourceIdentity', input.roleArn)
  if ((input.duration ?? HOUR) > role.maxSessionDuration)
    throw validationError('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.')
  if (packedPercent(input) > 100)
    throw new StsError(
      'PackedPolicyTooLarge',
      400,
      // AWS reports the same for policies, as far as its users' reports show.
      `Packed size of session tags consumes ${packedPercent(input)}% of allotted space.`,
    )
  iam.checkPolicies(input.policyArns, role)
  return iam.issue({
    arn: sessionArn(role, input.sessionName),
    role: role.arn,
    session: input.sessionName,
    userId: `${role.id}:${input.sessionName}`,
    account: role.account,
    issuedAt: now,
    expiresAt: expiryOf(now, input.duration),
    by: 'assume-role',
    tags,
    transitive,
    sourceIdentity,
    policy: input.policy,
    policyArns: input.policyArns,
  })
}

/** The role, if the caller may perform every action on it. A role that does not exist is treated like one that refuses. */
function authorize(
  { caller }: KeyOwner,
  { roleArn }: AssumeRoleInput,
  actions: readonly string[],
  iam: Iam,
  context: RequestContext,
): Role {
  const role = iam.role(roleArn)
  if (!role) throw accessDenied(caller.arn, 'sts:AssumeRole', roleArn)
  for (const action of actions)
    if (!mayActOnRole(caller, role, action, context)) throw accessDenied(caller.arn, action, roleArn)
  return role
}

/** The answer's elements, in the order of the service model. */
export function assumeRoleResult(session: Session, input: AssumeRoleInput): Elements {
  return {
    AssumedRoleUser: { AssumedRoleId: session.userId, Arn: session.arn },
    Credentials: {
      AccessKeyId: session.accessKeyId,
      SecretAccessKey: session.secretAccessKey,
      SessionToken: session.sessionToken,
      Expiration: new Date(session.expiresAt).toISOString().replace(/\.\d{3}Z$/, 'Z'),
    },
    // Present only if something was packed.
    PackedPolicySize: input.packedLength > 0 ? packedPercent(input) : undefined,
    SourceIdentity: session.sourceIdentity,
  }
}

/** Tags of the new session: those of the request, and the caller's transitive ones, which nobody can override. */
function sessionTags(
  input: AssumeRoleInput,
  from: Session | undefined,
): Pick<Session, 'tags' | 'transitive'> {
  const inherited = new Map((from?.transitive ?? []).map((key) => [key, from?.tags.get(key) ?? '']))
  const folded = new Set([...inherited.keys()].map((key) => key.toLowerCase()))
  if ([...input.tags.keys()].some((key) => folded.has(key.toLowerCase())))
    throw new StsError(
      'InvalidParameterValue',
      400,
      "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.",
    )
  const unknown = input.transitiveTagKeys.find((key) => !input.tags.has(key) && !inherited.has(key))
  if (unknown !== undefined)
    throw new StsError(
      'InvalidParameterValue',
      400,
      'The specified transitive tag key must be included in the requested tags.',
    )
  return {
    tags: new Map([...inherited, ...input.tags]),
    transitive: [...new Set([...inherited.keys(), ...input.transitiveTagKeys])],
  }
}

function requestContext(
  { caller, session }: KeyOwner,
  input: AssumeRoleInput,
  sourceIdentity: string | undefined,
): RequestContext {
  const context = new Map<string, readonly string[]>()
  const set = (key: string, value: string | undefined) => {
    if (value !== undefined) context.set(key.toLowerCase(), [value])
  }
  set('aws:PrincipalArn', caller.roleArn ?? caller.arn)
  set('aws:PrincipalAccount', caller.account)
  set('sts:RoleSessionName', input.sessionName)
  set('sts:ExternalId', input.externalId)
  set('sts:SourceIdentity', sourceIdentity)
  set('aws:SourceIdentity', session?.sourceIdentity)
  for (const [key, value] of input.tags) set(`aws:RequestTag/${key}`, value)
  for (const [key, value] of session?.tags ?? []) set(`aws:PrincipalTag/${key}`, value)
  if (input.tags.size > 0) context.set('aws:tagkeys', [...input.tags.keys()])
  if (input.transitiveTagKeys.length > 0) context.set('sts:transitivetagkeys', input.transitiveTagKeys)
  return context
}
