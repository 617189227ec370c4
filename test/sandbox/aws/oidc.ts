/** IAM's OIDC providers, and what STS does with a web identity token of one. */
import { request } from 'node:https'
import { createLocalJWKSet, decodeJwt, errors, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose'
import type { OidcProviderInput } from './model.ts'
import { StsError } from './sts-error.ts'

/** A provider as IAM stores it. */
export type OidcProvider = OidcProviderInput & { readonly arn: string; readonly account: string }

/** The subject of a verified token. */
export type WebIdentity = {
  readonly provider: OidcProvider
  readonly subject: string
  /** The audience that the provider knows. */
  readonly audience: string
  readonly claims: JWTPayload
}

/** The algorithms with which AWS verifies signatures (IAM User Guide, "Create an OpenID Connect identity provider"). */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512']
const FETCH_MS = 5000
const MAX_KEYS_BYTES = 128 * 1024
const MAX_CLIENT_IDS = 100

const INVALID = (message: string) => new StsError('InvalidIdentityToken', 400, message)
/** The text that AWS uses for every failure to fetch or find a key. */
const NO_KEY =
  "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"

/** The issuer in ARNs and condition keys: without its scheme. */
export const issuerName = (issuer: string): string => issuer.replace(/^https:\/\//, '')

/** ARN of the provider of an issuer in an account, in the partition of `base` (a base role ARN). */
export function oidcProviderArn(base: string, account: string, issuer: string): string {
  return `arn:${base.split(':')[1] ?? 'aws'}:iam::${account}:oidc-provider/${issuerName(issuer)}`
}

/** Throws a sentence on a provider that IAM would refuse. */
export function checkOidcProvider(input: OidcProviderInput): void {
  if (!/^https:\/\/[^\s?#]{1,247}$/.test(input.issuer))
    throw new Error(`"${input.issuer}" is not the https URL of an issuer`)
  if (!Array.isArray(input.clientIds) || input.clientIds.length === 0)
    throw new Error('an OIDC provider has at least one client id (audience)')
  if (input.clientIds.length > MAX_CLIENT_IDS)
    throw new Error(`an OIDC provider has at most ${MAX_CLIENT_IDS} client ids`)
  if (typeof input.keys !== 'object' || input.keys === null)
    throw new Error('an OIDC provider has keys: a key set, or where it is fetched')
}

/**
 * Verifies a web identity token as STS does: a provider of the role's account for its issuer, a key of that provider's set, signature,
 * audience, expiry.
 *
 * @param find the provider of an issuer in the role's account
 * @param now milliseconds since the epoch, by AWS's clock
 * @throws {StsError} InvalidIdentityToken, ExpiredTokenException, IDPCommunicationError
 */
export async function verifyWebIdentity(
  token: string,
  find: (issuer: string) => OidcProvider | undefined,
  now: number,
): Promise<WebIdentity> {
  const { iss: issuer } = unverified(token)
  const provider = issuer === undefined ? undefined : find(issuer)
  if (!provider) throw INVALID(`No OpenIDConnect provider found in your account for ${issuer ?? ''}`)
  const keys = await keySetOf(provider)
  const claims = await verified(token, keys, now)
  const audience = [claims.aud ?? []].flat().find((aud) => provider.clientIds.includes(aud))
  if (audience === undefined) throw INVALID('Incorrect token audience')
  const { sub: subject } = claims
  if (!subject) throw INVALID('The token has no subject')
  return { provider, subject, audience, claims }
}

function unverified(token: string): JWTPayload {
  try {
    return decodeJwt(token)
  } catch {
    throw INVALID(
      'The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)',
    )
  }
}

async function verified(token: string, keys: JSONWebKeySet, now: number): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, createLocalJWKSet(keys), {
      algorithms: ALGORITHMS,
      requiredClaims: ['exp', 'iat', 'sub', 'aud'],
      currentDate: new Date(now),
    })
    return payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) {
      const seconds = Math.floor(now / 1000)
      throw new StsError(
        'ExpiredTokenException',
        400,
        `Token expired: current date/time ${seconds} must be before the expiration date/time ${error.payload.exp}`,
      )
    }
    if (error instanceof errors.JWTClaimValidationFailed)
      throw INVALID(`The token's claim ${error.claim} is missing or not acceptable`)
    throw INVALID(error instanceof errors.JWKSNoMatchingKey ? NO_KEY : 'Invalid token signature')
  }
}

/** The given key set, or fetched for every call: nothing is cached here, so a removed key is no longer accepted. */
async function keySetOf({ keys }: OidcProvider): Promise<JSONWebKeySet> {
  if ('jwks' in keys) return keys.jwks as unknown as JSONWebKeySet
  let answer: Answer
  try {
    answer = await fetchText(keys.url, keys.ca)
  } catch {
    throw new StsError(
      'IDPCommunicationError',
      400,
      'An error occurred while communicating with the identity provider: the request could not be fulfilled',
    )
  }
  try {
    if (answer.status !== 200) throw new Error(`status ${answer.status}`)
    const set = JSON.parse(answer.text) as JSONWebKeySet
    if (!Array.isArray(set.keys)) throw new Error('no keys')
    return set
  } catch {
    throw INVALID(NO_KEY)
  }
}

type Answer = { readonly status: number; readonly text: string }

function fetchText(url: string, ca: string | undefined): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const outgoing = request(url, { ca, agent: false, timeout: FETCH_MS }, async (response) => {
    try {
      let text = ''
      for await (const chunk of response) {
        text += chunk
        if (text.length > MAX_KEYS_BYTES) throw new Error('the key set is too long')
      }
      resolve({ status: response.statusCode ?? 0, text })
    } catch (error) {
      reject(error)
    }
  })
  outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
  outgoing.on('error', reject)
  outgoing.end()
  return promise
}
