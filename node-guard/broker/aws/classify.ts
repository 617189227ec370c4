/**
 * Classes of STS failures: who has to do something, and how long to wait before asking again
 * (AWS documentation: STS API reference, "Errors"; IAM user guide, "Troubleshoot IAM roles", on role chaining).
 */
import { messageOf } from '../../../common/errors.ts'

export type StsFailure =
  /** Trust policy, permission, external id, or no such role: STS does not say which. */
  | 'denied'
  /** Something in the request: duration, name, policy size, or a Region the role's account has switched off. */
  | 'invalid'
  /** More than an hour was asked for with credentials that are themselves of an assumed role. */
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

type AwsError = {
  readonly name?: string
  readonly code?: string
  readonly message?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
}

/** The class of whatever an STS call threw. Unknown things count as an outage: they pass or are seen in the log. */
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

/** Whether nothing at all came back, as from a kept-alive connection that had died: worth one more try at once. */
export function isConnectionLoss(thrown: unknown): boolean {
  const { code, $metadata } = (thrown ?? {}) as AwsError
  return $metadata?.httpStatusCode === undefined && (code === 'ECONNRESET' || code === 'EPIPE')
}

/** AWS's own message for a failure: bounded, on one line, and without the external id, should AWS ever repeat it. */
export function awsMessage(thrown: unknown, externalId: string | undefined): string {
  const { name } = (thrown ?? {}) as AwsError
  const message = messageOf(thrown)
  const text = name && !message.startsWith(name) && name !== 'Error' ? `${name}: ${message}` : message
  return externalId ? text.replaceAll(externalId, '[external id]') : text
}
