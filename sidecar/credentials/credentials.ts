/** Temporary credentials as this process holds them, and the broker's body they come from. */
import { type Failed, failed } from '../../common/result.ts'
import { parseRoleArn } from '../../common/role.ts'

export type Credentials = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly token: string
  readonly accountId: string
  /** Text of the role list. */
  readonly role: string
  readonly roleArn: string
  /** Wall clock, milliseconds. */
  readonly lastUpdated: number
  /** Wall clock, milliseconds. */
  readonly expiration: number
}

/** Credentials that expire sooner are not handed out, milliseconds. */
export const MIN_LIFE_MS = 60_000

type CredentialsResult = { readonly ok: true; readonly credentials: Credentials } | Failed

const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/

/**
 * Reads the broker's body (`CredentialsBody` of common/protocol.ts). Every member is checked: what is wrong here
 * would come out in an application.
 *
 * @param now wall clock, milliseconds
 * @returns the credentials, or the half of a sentence that says what is wrong; never a value of the body
 */
export function parseCredentials(body: string, now: number): CredentialsResult {
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch {
    return failed('it is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return failed('it is not an object')
  const members = value as Record<string, unknown>
  if (members.Code !== 'Success') return failed('its Code is not Success')
  const wrong = TEXTS.find((name) => !isPrintable(members[name]))
  if (wrong !== undefined) return failed(`its ${wrong} is missing or not printable text`)
  const text = members as Record<(typeof TEXTS)[number], string>
  const [lastUpdated, expiration] = [text.LastUpdated, text.Expiration].map(parseTime)
  if (lastUpdated === undefined || expiration === undefined)
    return failed('its LastUpdated or Expiration is not a UTC time')
  if (expiration - now < MIN_LIFE_MS)
    return failed('its credentials expire within a minute (is the clock of this node right?)')
  if (!/^\d{12}$/.test(text.AccountId)) return failed('its AccountId is not twelve digits')
  if (!parseRoleArn(text.RoleArn).ok) return failed('its RoleArn is not a role ARN')
  if (!text.RoleArn.endsWith(text.Role)) return failed('its Role is not the end of its RoleArn')
  return {
    ok: true,
    credentials: {
      accessKeyId: text.AccessKeyId,
      secretAccessKey: text.SecretAccessKey,
      token: text.Token,
      accountId: text.AccountId,
      role: text.Role,
      roleArn: text.RoleArn,
      lastUpdated,
      expiration,
    },
  }
}

const TEXTS = [
  'AccessKeyId',
  'SecretAccessKey',
  'Token',
  'Expiration',
  'LastUpdated',
  'AccountId',
  'Role',
  'RoleArn',
] as const

/** No white space: a newline in a role name breaks the URLs of Rust and PHP, in a key every signature. */
function isPrintable(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
}

function parseTime(text: string): number | undefined {
  const time = TIME.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(time) ? undefined : time
}
