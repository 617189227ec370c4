/** Words that must not appear where they do not belong; every secret of a run contains one of them. */

export const ROLE = 'team/reader'
export const ACCOUNT = '111111111111'
export const SERVICE_ACCOUNT_TOKEN = 'soakServiceAccountToken.payload.signature'

/** Part of every access key id, secret key, session token and service-account token that the run creates. */
export const SECRET_WORDS = [
  'ASIASOAK',
  'soakSecretKey',
  'soakSessionToken',
  'soakServiceAccountToken',
] as const

/** What, besides the secrets, the health port must not reveal, because it is reachable from outside the pod. */
export const HEALTH_WORDS = [...SECRET_WORDS, ACCOUNT, ROLE, 'arn:aws'] as const

/** The first of the words that a text contains. */
export function wordIn(text: string, words: readonly string[]): string | undefined {
  return words.find((word) => text.includes(word))
}
