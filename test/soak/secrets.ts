/** What must not be seen where it does not belong; every secret of a run carries one of these words. */

export const ROLE = 'team/reader'
export const ACCOUNT = '111111111111'
export const SERVICE_ACCOUNT_TOKEN = 'soakServiceAccountToken.payload.signature'

/** In every access key id, secret key, session token and service-account token that the run makes. */
export const SECRET_WORDS = [
  'ASIASOAK',
  'soakSecretKey',
  'soakSessionToken',
  'soakServiceAccountToken',
] as const

/** Beside the secrets, what the health port must not tell: it is reachable from outside the pod. */
export const HEALTH_WORDS = [...SECRET_WORDS, ACCOUNT, ROLE, 'arn:aws'] as const

/** The first of some words that a text contains. */
export function wordIn(text: string, words: readonly string[]): string | undefined {
  return words.find((word) => text.includes(word))
}
