import { KEYS } from '../../../common/keys.ts'
import { Problem, type ProblemCode } from '../../../common/protocol.ts'
import type { SessionRequest } from '../authorize/entitlement.ts'
import { awsMessage, isTooLarge, type StsFailure, webIdentityFault } from './classify.ts'

const CODES: Record<StsFailure, ProblemCode> = {
  denied: 'sts-denied',
  invalid: 'sts-invalid',
  chaining: 'sts-invalid',
  throttled: 'sts-throttled',
  'node-credentials': 'node-credentials-unavailable',
  unavailable: 'sts-unavailable',
}

type FailureContext = {
  readonly request: SessionRequest
  readonly callerArn: string | undefined
  readonly retryAfter: number
  /** Issuer and audience of the cluster's tokens, if the request is by web identity. */
  readonly federation?: Federation
}

/**
 * An STS failure as a problem whose detail a person can act on.
 *
 * @param callerArn the role that calls STS (the node's, or the stable hop), where it is known
 * @param retryAfter seconds
 */
export function stsProblem(failure: StsFailure, thrown: unknown, context: FailureContext): Problem {
  const { request, callerArn, retryAfter, federation } = context
  if (request.webIdentity && federation) return webIdentityProblem(failure, thrown, context, federation)
  const message = awsMessage(thrown, request.externalId)
  const detail = {
    denied: () => deniedDetail(request, callerArn, message),
    invalid: () => invalidDetail(request, thrown, message),
    chaining: () => `STS does not accept the session duration for ${request.roleArn}: ${message}`,
    throttled: () => `STS is throttling this account: ${message}`,
    'node-credentials': () => `the node’s own AWS credentials are missing or refused: ${message}`,
    unavailable: () => `STS did not answer properly: ${message}`,
  }[failure]()
  return new Problem(CODES[failure], detail, { retryAfter, cause: thrown })
}

function deniedDetail(request: SessionRequest, callerArn: string | undefined, message: string): string {
  const caller = callerArn ?? 'the node role'
  const { sourceIdentity, roleArn } = request
  if (sourceIdentity !== undefined && /sts:SetSourceIdentity/.test(message))
    return (
      `STS does not let ${caller} set the source identity ${sourceIdentity} (--source-identity) for ${roleArn}; its trust policy needs ` +
      `the statement ${JSON.stringify(trustStatement(request, caller))}, and the policies of ${caller} must allow the same actions on it; ` +
      `if the session of ${caller} has a source identity already, AWS accepts no other one; STS said: ${message}`
    )
  return (
    `STS does not let ${caller} assume ${request.roleArn} (or there is no such role); its trust policy needs the statement ` +
    `${JSON.stringify(trustStatement(request, caller))} and, if the role is in another account, the policies of ${caller} ` +
    `must allow the same actions on it; STS said: ${message}`
  )
}

function invalidDetail(request: SessionRequest, thrown: unknown, message: string): string {
  const { roleArn, policyArns } = request
  if (isTooLarge(thrown))
    return (
      `the session policies and tags for ${roleArn} are together more than AWS packs into a session: name fewer policies in annotation ` +
      `${KEYS.sessionPolicyArns}, or let the operator set fewer session tags; STS said: ${message}`
    )
  if (policyArns.length > 0)
    return (
      `STS does not accept the request for ${roleArn} with the session policies ${policyArns.join(', ')}: each of them must exist in ` +
      `account ${accountOf(request)} (annotation ${KEYS.sessionPolicyArns}); STS said: ${message}`
    )
  return `STS does not accept the request for ${roleArn}: ${message}`
}

/** The statement a role's trust policy needs so that `callerArn` may assume it as `request` does. */
export function trustStatement(
  request: Pick<SessionRequest, 'externalId' | 'tags' | 'sourceIdentity'>,
  callerArn: string,
) {
  const actions = [
    'sts:AssumeRole',
    ...(request.tags.length > 0 ? ['sts:TagSession'] : []),
    ...(request.sourceIdentity === undefined ? [] : ['sts:SetSourceIdentity']),
  ]
  return {
    Effect: 'Allow',
    Principal: { AWS: callerArn },
    Action: actions.length > 1 ? actions : 'sts:AssumeRole',
    ...(request.externalId
      ? { Condition: { StringEquals: { 'sts:ExternalId': 'the external id of the pod’s annotation' } } }
      : {}),
  }
}

/** What identifies the cluster's web identity tokens in trust policies. */
export type Federation = {
  readonly issuer: string | undefined
  /** Of new pods' tokens. */
  readonly audience: string
  /** Of tokens of pods that were created with another one. */
  readonly further?: readonly string[]
}

function webIdentityProblem(
  failure: StsFailure,
  thrown: unknown,
  { request, retryAfter }: FailureContext,
  federation: Federation,
): Problem {
  const words = awsMessage(thrown, request.externalId)
  const fault = webIdentityFault(thrown)
  // Another token comes with the sidecar's next request: it reads the file anew each time.
  const code = fault === 'expired' ? 'token-invalid' : CODES[failure]
  const detail =
    fault === undefined
      ? refusedByWebIdentity(failure, thrown, request, federation, words)
      : `${TOKEN_FAULTS[fault](request, federation)}; STS said: ${words}`
  return new Problem(code, detail, { retryAfter, cause: thrown })
}

/** The account of the role that a request is for. */
export const accountOf = ({ roleArn }: Pick<SessionRequest, 'roleArn'>) => roleArn.split(':')[4] ?? ''
const issuerOf = ({ issuer }: Federation) => issuer ?? 'this cluster’s issuer'

const TOKEN_FAULTS = {
  'issuer-unknown': (request: SessionRequest, federation: Federation) =>
    `account ${accountOf(request)} of role ${request.roleArn} has no IAM OIDC provider for this cluster’s issuer: create one there ` +
    `with the URL ${issuerOf(federation)} and the audience ${federation.audience}`,
  'keys-not-fetched': (_: SessionRequest, federation: Federation) =>
    `AWS cannot fetch the keys that sign this cluster’s tokens: ${issuerOf(federation)}/.well-known/openid-configuration and the key set ` +
    'that it names must be readable from the internet, by https and without a login, and have the API server’s present keys',
  audience: (request: SessionRequest, federation: Federation) =>
    `the IAM OIDC provider for ${issuerOf(federation)} in account ${accountOf(request)} does not know the audience ${[federation.audience, ...(federation.further ?? [])].join(' or ')}: ` +
    'add it to the provider, or set --web-identity-audience to one that it has',
  expired: () =>
    'the pod’s web identity token has expired: the sidecar reads its file anew for its next request; if this stays, look at the kubelet ' +
    'and at the clocks of node and API server',
  other: (request: SessionRequest, federation: Federation) =>
    `STS does not accept the token for ${request.roleArn}: the key set that AWS has of ${issuerOf(federation)} must be the one of this cluster’s API server`,
} as const

function refusedByWebIdentity(
  failure: StsFailure,
  thrown: unknown,
  request: SessionRequest,
  federation: Federation,
  words: string,
): string {
  if (failure === 'denied') {
    const subject = request.webIdentity?.subject ?? ''
    return (
      `STS does not let ${subject} assume ${request.roleArn} by web identity (or there is no such role); its trust policy needs the ` +
      `statement ${JSON.stringify(federatedStatement(request, federation))}; STS said: ${words}`
    )
  }
  if (failure === 'invalid' && /MaxSessionDuration/.test(words))
    return (
      `role ${request.roleArn} does not allow sessions of ${request.durationSeconds} seconds: raise its maximum session duration ` +
      `(aws iam update-role --max-session-duration), or lower --session-duration; STS said: ${words}`
    )
  if (failure === 'throttled') return `STS is throttling this account: ${words}`
  if (failure === 'unavailable') return `STS did not answer properly: ${words}`
  return invalidDetail(request, thrown, words)
}

/** The statement a role's trust policy needs so that the pods of a service account may assume it by web identity: IRSA's. */
function federatedStatement(
  { roleArn, webIdentity }: Pick<SessionRequest, 'roleArn' | 'webIdentity'>,
  { issuer = 'https://ISSUER', audience }: Federation,
) {
  const [, partition = 'aws', , , account = ''] = roleArn.split(':')
  const name = issuer.replace(/^https:\/\//, '')
  return {
    Effect: 'Allow',
    Principal: { Federated: `arn:${partition}:iam::${account}:oidc-provider/${name}` },
    Action: 'sts:AssumeRoleWithWebIdentity',
    Condition: { StringEquals: { [`${name}:sub`]: webIdentity?.subject ?? '', [`${name}:aud`]: audience } },
  }
}
