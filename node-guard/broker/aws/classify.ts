/**
 * Classes of STS failures: who has to act, and how long to wait before the next try
 * (AWS documentation: STS API reference, "Errors"; IAM user guide, "Troubleshoot IAM roles", on role chaining).
 */
import { messageOf } from '../../../common/errors.ts'

export type StsFailure =
  /** Trust policy, permission, external id, or no such role: STS does not say which. */
  | 'denied'
  /** Something in the request: duration, name, policy size, or a Region the role's account has switched off. */
  | 'invalid'
  /** More than an hour was requested with credentials that are themselves those of an assumed role. */
  | 'chaining'
  | 'throttled'
  /** The node's own credentials or its clock. */
  | 'node-credentials'
  | 'unavailable'

const DENIED = new Set(['AccessDenied', 'AccessDeniedException'])
const THROTTLED = new Set([
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'RequestLimitExceeded',
  'TooManyRequestsException',
  'SlowDown',
])
const NODE_CREDENTIALS = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'InvalidClientTokenId',
  'SignatureDoesNotMatch',
  'RequestExpired',
  'RequestTimeTooSkewed',
  'IncompleteSignature',
  'MissingAuthenticationToken',
  'UnrecognizedClientException',
  // Of the SDK, when no provider has credentials.
  'CredentialsProviderError',
  'InstanceMetadataV1FallbackError',
  'TokenProviderError',
])

/** AssumeRoleWithWebIdentity, "Errors": each in the spelling of the wire and of the SDK. */
const TOKEN_REFUSED = /^(?:InvalidIdentityToken|IDPRejectedClaim)(?:Exception)?$/
const TOKEN_EXPIRED = /^ExpiredToken(?:Exception)?$/
const KEYS_UNREACHABLE = /^IDPCommunicationError(?:Exception)?$/

type AwsError = {
  readonly name?: string
  readonly code?: string
  readonly message?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
}

/** The class of whatever an STS call threw. An unknown error counts as an outage, which is retried and logged. */
export function classifyStsError(thrown: unknown): StsFailure {
  const { name = '', message = '', $metadata } = (thrown ?? {}) as AwsError
  const status = $metadata?.httpStatusCode ?? 0
  if (NODE_CREDENTIALS.has(name)) return 'node-credentials'
  if (DENIED.has(name)) return 'denied'
  if (THROTTLED.has(name) || status === 429 || /^rate exceeded/i.test(message)) return 'throttled'
  if (name === 'ValidationError' && /1 hour session limit for roles assumed by role chaining/i.test(message))
    return 'chaining'
  // RegionDisabledException is a 403, MalformedPolicyDocument and PackedPolicyTooLarge are 400.
  if (status >= 400 && status < 500 && status !== 408) return 'invalid'
  return 'unavailable'
}

/** Why STS did not accept a web identity token. */
export type WebIdentityFault =
  /** There is no OIDC provider of the issuer in the role's account. */
  | 'issuer-unknown'
  | 'keys-not-fetched'
  | 'audience'
  | 'expired'
  /** The provider's keys do not verify it, or it is no token to AWS. */
  | 'other'

/** Why the token was refused, by AWS's message where one code has several causes; undefined if the failure has another cause. */
export function webIdentityFault(thrown: unknown): WebIdentityFault | undefined {
  const { name = '', message = '' } = (thrown ?? {}) as AwsError
  if (TOKEN_EXPIRED.test(name)) return 'expired'
  if (KEYS_UNREACHABLE.test(name)) return 'keys-not-fetched'
  if (!TOKEN_REFUSED.test(name)) return undefined
  if (/no openidconnect provider found/i.test(message)) return 'issuer-unknown'
  if (/retrieve verification key|could not be fetched/i.test(message)) return 'keys-not-fetched'
  return /incorrect token audience/i.test(message) ? 'audience' : 'other'
}

/**
 * The class of what AssumeRoleWithWebIdentity threw. Such a call does not use the node's credentials, so it is never `node-credentials`. An expired
 * token is replaced with the sidecar's next request, and for keys that could not be fetched AWS recommends another try.
 */
export function classifyWebIdentityError(thrown: unknown): StsFailure {
  const fault = webIdentityFault(thrown)
  if (fault === 'expired') return 'unavailable'
  if (fault !== undefined) {
    const { name = '' } = (thrown ?? {}) as AwsError
    return KEYS_UNREACHABLE.test(name) ? 'unavailable' : 'denied'
  }
  const failure = classifyStsError(thrown)
  return failure === 'node-credentials' || failure === 'chaining' ? 'invalid' : failure
}

/** Returns the function that classifies failures of such a request. */
export const classifierFor = ({ webIdentity }: { readonly webIdentity?: object | undefined }) =>
  webIdentity ? classifyWebIdentityError : classifyStsError

/** Whether policies and tags of a session are together more than STS takes: in the spelling of the wire and of the SDK. */
export const isTooLarge = (thrown: unknown) =>
  /^PackedPolicyTooLarge(?:Exception)?$/.test(((thrown ?? {}) as AwsError).name ?? '')

/** Whether the connection was lost without an answer, as a kept-alive connection may be: worth one more try at once. */
export function isConnectionLoss(thrown: unknown): boolean {
  const { code, $metadata } = (thrown ?? {}) as AwsError
  return $metadata?.httpStatusCode === undefined && (code === 'ECONNRESET' || code === 'EPIPE')
}

/** AWS's own message for a failure: bounded, on one line, and without the external id, should AWS ever repeat it. */
export function awsMessage(thrown: unknown, externalId: string | undefined): string {
  const { name } = (thrown ?? {}) as AwsError
  const message = messageOf(thrown)
  const named = name && !message.startsWith(name) && name !== 'Error' ? `${name}: ${message}` : message
  // A web identity token, should AWS ever repeat it.
  const text = named.replace(/\beyJ[\w-]+(?:\.[\w-]*)*/g, '[token]')
  return externalId ? text.replaceAll(externalId, '[external id]') : text
}
