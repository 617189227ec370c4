/** Short forms of the policies that tests need. */
import type { OneOrMore, PolicyDocument, Statement } from './model.ts'

/**
 * A trust policy that lets a principal assume the role.
 *
 * @param options.principal ARN of a role, session or user, an account's id or root ARN, or `*`
 * @param options.externalId required when given (one of them, if there are several)
 * @param options.tags `true` (default) allows sts:TagSession; an object also requires these values of the session tags,
 *   with wildcards `*` and `?`; `false` refuses session tags
 * @param options.sourceIdentity `true` allows sts:SetSourceIdentity; a text also requires it, with wildcards `*` and `?`
 * @param options.sessionName required role session name, with wildcards
 */
export function trust(options: {
  readonly principal: OneOrMore
  readonly externalId?: OneOrMore
  readonly tags?: boolean | Readonly<Record<string, string>>
  readonly sourceIdentity?: true | string
  readonly sessionName?: string
}): PolicyDocument {
  const { tags = true } = options
  const requestTags = Object.entries(typeof tags === 'object' ? tags : {}).map(
    ([key, value]): [string, string] => [`aws:RequestTag/${key}`, value],
  )
  const like: Record<string, OneOrMore> = Object.fromEntries(requestTags)
  if (options.sessionName !== undefined) like['sts:RoleSessionName'] = options.sessionName
  if (typeof options.sourceIdentity === 'string') like['sts:SourceIdentity'] = options.sourceIdentity
  const condition = {
    ...(options.externalId === undefined ? {} : { StringEquals: { 'sts:ExternalId': options.externalId } }),
    ...(Object.keys(like).length === 0 ? {} : { StringLike: like }),
  }
  const statement: Statement = {
    Effect: 'Allow',
    Principal: { AWS: options.principal },
    Action: [
      'sts:AssumeRole',
      ...(tags === false ? [] : ['sts:TagSession']),
      ...(options.sourceIdentity === undefined ? [] : ['sts:SetSourceIdentity']),
    ],
    ...(Object.keys(condition).length === 0 ? {} : { Condition: condition }),
  }
  return { Version: '2012-10-17', Statement: [statement] }
}

/**
 * A trust policy like that of IRSA: for every token of this provider with this subject and audience.
 *
 * @param options.provider ARN of the OIDC provider
 * @param options.subject `system:serviceaccount:<namespace>:<service account>`; with `*` or `?` it is a pattern
 * @param options.audience `sts.amazonaws.com` by default
 */
export function trustWebIdentity(options: {
  readonly provider: string
  readonly subject: string
  readonly audience?: string
}): PolicyDocument {
  const issuer = options.provider.replace(/^.*:oidc-provider\//, '')
  const sub = { [`${issuer}:sub`]: options.subject }
  const aud = { [`${issuer}:aud`]: options.audience ?? 'sts.amazonaws.com' }
  return {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Federated: options.provider },
        Action: 'sts:AssumeRoleWithWebIdentity',
        Condition: /[*?]/.test(options.subject)
          ? { StringLike: sub, StringEquals: aud }
          : { StringEquals: { ...sub, ...aud } },
      },
    ],
  }
}

/** Identity statement that allows to assume roles, with or without session tags. Takes ARNs with wildcards. */
export function allowAssume(...roles: readonly string[]): Statement {
  return { Effect: 'Allow', Action: ['sts:AssumeRole', 'sts:TagSession'], Resource: roles }
}

/** Identity statement that denies to assume roles, whatever else allows it. Takes ARNs with wildcards. */
export function denyAssume(...roles: readonly string[]): Statement {
  return { Effect: 'Deny', Action: 'sts:AssumeRole', Resource: roles }
}
