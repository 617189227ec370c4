import { errors, type JWTPayload, jwtVerify } from 'jose'
import type { Clock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import { type PodClaims, podClaims } from './claims.ts'
import type { SigningKeys } from './keys.ts'

/** The algorithms with which Kubernetes signs (kube-apiserver and external signers). An allow-list, because attackers send `none` and HS256. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512']
const TOLERANCE_SECONDS = 5
const MAX_TOKEN = 8192

/** Verifies the value of an `Authorization` header. @throws {Problem} */
export type VerifyToken = (authorization: string | undefined) => Promise<PodClaims>

/** The content of a verified token. */
export type VerifiedToken = {
  readonly claims: PodClaims
  /** Milliseconds. */
  readonly expiresAt: number
}

/**
 * Steps 1 and 2: signature, issuer, audience, times, claims.
 *
 * @param audience that the token must have
 */
export function tokenVerifier(keys: SigningKeys, audience: string, clock: Clock): VerifyToken {
  const verify = claimsVerifier(keys, [audience], clock, 'the token')
  return async (authorization) => (await verify(bearer(authorization))).claims
}

/**
 * The same for a token without `Bearer`.
 *
 * @param audiences what it may be meant for
 * @param name the name of the token in messages
 */
export function claimsVerifier(
  keys: SigningKeys,
  audiences: readonly string[],
  clock: Clock,
  name: string,
): (token: string) => Promise<VerifiedToken> {
  const verify = async (token: string, retried = false): Promise<JWTPayload> => {
    const current = keys.current()
    if (!current)
      throw new Problem('busy', 'the API server’s token signing keys are not known yet; retry', {
        retryAfter: 2,
      })
    try {
      const { payload } = await jwtVerify(token, current.key, {
        algorithms: ALGORITHMS,
        audience: [...audiences],
        issuer: current.issuer,
        requiredClaims: ['exp', 'sub', 'kubernetes.io'],
        clockTolerance: TOLERANCE_SECONDS,
        currentDate: new Date(clock.now()),
      })
      return payload
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey && !retried && (await keys.unknownKey()))
        return verify(token, true)
      throw new Problem('token-invalid', `${name} cannot be accepted: ${reason(error, audiences)}`)
    }
  }
  return async (token) => {
    if (token.length > MAX_TOKEN)
      throw new Problem('token-invalid', `${name} is longer than ${MAX_TOKEN} characters`)
    const payload = await verify(token)
    return { claims: podClaims(payload), expiresAt: (payload.exp ?? 0) * 1000 }
  }
}

function bearer(authorization: string | undefined): string {
  const token = /^Bearer +([\w.~+/=-]+) *$/i.exec(authorization ?? '')?.[1]
  if (!token)
    throw new Problem('token-missing', 'send the pod’s projected token in a header "Authorization: Bearer …"')
  return token
}

/** jose's reasons, without anything of the token's content. */
function reason(error: unknown, audiences: readonly string[]): string {
  if (error instanceof errors.JWTExpired) return 'it has expired; read the token file again'
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return `its audience is not ${audiences.join(' or ')}`
    if (error.claim === 'nbf') return 'it is not valid yet; compare the clocks of node and API server'
    if (error.claim === 'iss') return 'its issuer is not this cluster’s API server'
    return `its claim ${error.claim} is missing or wrong`
  }
  if (error instanceof errors.JWKSNoMatchingKey) return 'it is signed with a key this cluster does not have'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong'
  if (error instanceof errors.JOSEAlgNotAllowed) return 'its signature algorithm is not allowed'
  return 'it is not a signed token'
}
