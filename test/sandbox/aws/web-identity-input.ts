/** Parameters of AssumeRoleWithWebIdentity and their rules (the STS API's service model). */
import {
  checkedRoleArn,
  durationProblems,
  parsePolicy,
  policyArnsOf,
  policyLength,
  policyProblems,
  ROLE_ARN,
  refuseProblems,
  SESSION_NAME,
  textProblems,
} from './assume-role-input.ts'
import type { Statement } from './model.ts'
import { validationError } from './sts-error.ts'

export type WebIdentityInput = {
  readonly roleArn: string
  readonly sessionName: string
  readonly token: string
  /** Seconds; undefined for the default of 3600. */
  readonly duration: number | undefined
  readonly policy: readonly Statement[] | undefined
  /** ARNs of managed policies. */
  readonly policyArns: readonly string[]
  /** Number of characters of the session policies, from which the packed size is computed. */
  readonly packedLength: number
}

const TOKEN = { min: 4, max: 20_000, pattern: /^[\s\S]*$/, shown: '.*' }
/** `ProviderId` is for OAuth 2.0 access tokens (Facebook, Amazon), which are no JWTs. */
const UNSUPPORTED = ['ProviderId']
/** AWS ignores parameters that an action does not know; a caller that sends these expects an effect that they do not have. */
const UNKNOWN = ['ExternalId', 'Tags.member.1.Key', 'TransitiveTagKeys.member.1', 'SourceIdentity']

/** Reads and checks the parameters. Throws ValidationError with every violated rule, as the API does. */
export function parseWebIdentity(params: URLSearchParams): WebIdentityInput {
  const unsupported = [...UNSUPPORTED, ...UNKNOWN].find((name) => params.has(name))
  if (unsupported !== undefined)
    throw validationError(`The parameter ${unsupported} is not supported by this stand-in of STS.`)
  const policy = params.get('Policy')
  const policyArns = policyArnsOf(params)
  const duration = params.get('DurationSeconds')
  refuseProblems([
    ...textProblems('roleArn', params.get('RoleArn'), ROLE_ARN, true),
    ...textProblems('roleSessionName', params.get('RoleSessionName'), SESSION_NAME, true),
    ...textProblems('webIdentityToken', params.get('WebIdentityToken'), TOKEN, true),
    ...durationProblems(duration),
    ...policyProblems(policyArns, policy),
  ])
  return {
    roleArn: checkedRoleArn(params.get('RoleArn') ?? ''),
    sessionName: params.get('RoleSessionName') ?? '',
    token: params.get('WebIdentityToken') ?? '',
    duration: duration === null ? undefined : Number(duration),
    policy: parsePolicy(policy),
    policyArns,
    packedLength: policyLength(policyArns, policy),
  }
}
