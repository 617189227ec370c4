import { Problem, type ProblemCode } from '../../../common/protocol.ts'
import type { SessionRequest } from '../authorize/entitle.ts'
import { awsMessage, type StsFailure } from './classify.ts'

const CODES: Record<StsFailure, ProblemCode> = {
  denied: 'sts-denied',
  invalid: 'sts-invalid',
  chaining: 'sts-invalid',
  throttled: 'sts-throttled',
  'node-credentials': 'node-credentials-unavailable',
  unavailable: 'sts-unavailable',
}

/**
 * An STS failure as a problem whose detail a person can act on.
 *
 * @param callerArn the role that calls STS (the node's, or the stable hop), where it is known
 * @param retryAfter seconds
 */
export function stsProblem(
  failure: StsFailure,
  thrown: unknown,
  context: {
    readonly request: SessionRequest
    readonly callerArn: string | undefined
    readonly retryAfter: number
  },
): Problem {
  const { request, callerArn, retryAfter } = context
  const message = awsMessage(thrown, request.externalId)
  const detail = {
    denied: () => deniedDetail(request, callerArn, message),
    invalid: () => `STS does not accept the request for ${request.roleArn}: ${message}`,
    chaining: () => `STS does not accept the session duration for ${request.roleArn}: ${message}`,
    throttled: () => `STS is throttling this account: ${message}`,
    'node-credentials': () => `the node’s own AWS credentials are missing or refused: ${message}`,
    unavailable: () => `STS did not answer properly: ${message}`,
  }[failure]()
  return new Problem(CODES[failure], detail, { retryAfter, cause: thrown })
}

function deniedDetail(request: SessionRequest, callerArn: string | undefined, message: string): string {
  const caller = callerArn ?? 'the node role'
  return (
    `STS does not let ${caller} assume ${request.roleArn} (or there is no such role); its trust policy needs the statement ` +
    `${JSON.stringify(trustStatement(request, caller))} and, where the role is in another account, the policies of ${caller} ` +
    `must allow the same actions on it; STS said: ${message}`
  )
}

/** The statement a role's trust policy needs so that `callerArn` may assume it as `request` does. */
export function trustStatement(request: SessionRequest, callerArn: string) {
  return {
    Effect: 'Allow',
    Principal: { AWS: callerArn },
    Action: request.tags.length > 0 ? ['sts:AssumeRole', 'sts:TagSession'] : 'sts:AssumeRole',
    ...(request.externalId
      ? { Condition: { StringEquals: { 'sts:ExternalId': 'the external id of the pod’s annotation' } } }
      : {}),
  }
}
