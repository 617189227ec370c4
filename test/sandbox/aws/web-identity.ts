/** AssumeRoleWithWebIdentity: whether the subject of a token gets the role, and for how long. There is no signature and no caller. */
import type { RequestContext } from './condition.ts'
import type { Iam, Role, Session } from './iam.ts'
import { issuerName, type OidcProvider, verifyWebIdentity, type WebIdentity } from './oidc.ts'
import { evaluateFederatedTrust } from './policy.ts'
import { expiryOf, packedPercent, sessionArn } from './session.ts'
import { StsError, validationError } from './sts-error.ts'
import type { WebIdentityInput } from './web-identity-input.ts'
import type { Elements } from './xml.ts'

const ACTION = 'sts:AssumeRoleWithWebIdentity'

export type WebIdentitySession = { readonly session: Session; readonly identity: WebIdentity }

/**
 * Decides one call. The existence of a role stays hidden: the answer is the same without a role as without a trust.
 *
 * @param now milliseconds since the epoch
 * @throws {StsError} what AWS would answer
 */
export async function assumeRoleWithWebIdentity(
  input: WebIdentityInput,
  { iam, now }: { readonly iam: Iam; readonly now: number },
): Promise<WebIdentitySession> {
  const account = input.roleArn.split(':')[4] ?? ''
  const identity = await verifyWebIdentity(input.token, (issuer) => iam.oidcProvider(account, issuer), now)
  const role = iam.role(input.roleArn)
  if (!role || !trusts(role, identity, input))
    throw new StsError('AccessDenied', 403, `Not authorized to perform ${ACTION}`)
  if ((input.duration ?? 3600) > role.maxSessionDuration)
    throw validationError('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.')
  if (packedPercent(input) > 100)
    throw new StsError(
      'PackedPolicyTooLarge',
      400,
      `Packed policy consumes ${packedPercent(input)}% of allotted space, please use smaller policy.`,
    )
  iam.checkPolicies(input.policyArns, role)
  const session = iam.issue({
    arn: sessionArn(role, input.sessionName),
    role: role.arn,
    session: input.sessionName,
    userId: `${role.id}:${input.sessionName}`,
    account: role.account,
    issuedAt: now,
    expiresAt: expiryOf(now, input.duration),
    by: 'web-identity',
    tags: new Map(),
    transitive: [],
    sourceIdentity: undefined,
    policy: input.policy,
    policyArns: input.policyArns,
  })
  return { session, identity }
}

function trusts(role: Role, identity: WebIdentity, input: WebIdentityInput): boolean {
  return (
    evaluateFederatedTrust(
      role.trustPolicy,
      identity.provider.arn,
      ACTION,
      requestContext(identity, input),
    ) === 'allow'
  )
}

/** IAM User Guide, "Available keys for AWS OIDC federation": `<issuer>:sub`, `:aud`, `:amr`, and those of every AssumeRole call. */
function requestContext({ provider, subject, audience, claims }: WebIdentity, input: WebIdentityInput) {
  const context = new Map<string, readonly string[]>()
  const issuer = issuerName(provider.issuer)
  const set = (key: string, ...values: readonly string[]) => context.set(key.toLowerCase(), values)
  set(`${issuer}:sub`, subject)
  set(`${issuer}:aud`, audience)
  if (Array.isArray(claims.amr)) set(`${issuer}:amr`, ...claims.amr.map(String))
  set('aws:FederatedProvider', provider.arn)
  set('sts:RoleSessionName', input.sessionName)
  return context satisfies RequestContext
}

/** The answer's elements, in the order of the service model. */
export function webIdentityResult(
  { session, identity }: WebIdentitySession,
  input: WebIdentityInput,
): Elements {
  const provider: OidcProvider = identity.provider
  return {
    Audience: identity.audience,
    AssumedRoleUser: { AssumedRoleId: session.userId, Arn: session.arn },
    Provider: provider.arn,
    Credentials: {
      AccessKeyId: session.accessKeyId,
      SecretAccessKey: session.secretAccessKey,
      SessionToken: session.sessionToken,
      Expiration: new Date(session.expiresAt).toISOString().replace(/\.\d{3}Z$/, 'Z'),
    },
    PackedPolicySize: input.packedLength > 0 ? packedPercent(input) : undefined,
    SubjectFromWebIdentityToken: identity.subject,
  }
}
