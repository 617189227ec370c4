/**
 * The JSON documents below `iam/`, in EC2's order and spacing (`"k" : "v"`, one key a line), because shell scripts
 * read them with grep and sed.
 */
import { imdsTime } from '../../common/protocol.ts'
import { parseRoleArn } from '../../common/role.ts'
import type { Credentials } from '../credentials/credentials.ts'

/** `security-credentials/<role>`; with the account id, `security-credentials-extended/<role>`. */
export function credentialDocument(credentials: Credentials, form: 'plain' | 'extended'): string {
  return document([
    ['Code', 'Success'],
    ['LastUpdated', imdsTime(credentials.lastUpdated)],
    ['Type', 'AWS-HMAC'],
    ['AccessKeyId', credentials.accessKeyId],
    ['SecretAccessKey', credentials.secretAccessKey],
    ['Token', credentials.token],
    ['Expiration', imdsTime(credentials.expiration)],
    ...(form === 'extended' ? [['AccountId', credentials.accountId] as const] : []),
  ])
}

/**
 * What EC2 answers, with status 200, when it may not assume the role: the one shape whose text reaches the developer
 * through Go, Rust, PHP and botocore, and on which no SDK retries.
 *
 * @param at when the refusal was received, wall clock in milliseconds
 */
export function refusalDocument(role: string, detail: string, at: number): string {
  return document([
    ['Code', 'AssumeRoleUnauthorizedAccess'],
    ['Message', `EC2 cannot assume the role ${role}. ${detail}`],
    ['LastUpdated', imdsTime(at)],
  ])
}

/**
 * `iam/info`, made up from the role: the profile is named after it, and the id is a fixed function of the ARN. The
 * node's own is never shown.
 */
export function infoDocument(credentials: Credentials): string {
  const role = parseRoleArn(credentials.roleArn)
  const { partition, account, pathName } = role.ok
    ? role.role
    : { partition: 'aws', account: credentials.accountId, pathName: credentials.role }
  return document([
    ['Code', 'Success'],
    ['LastUpdated', imdsTime(credentials.lastUpdated)],
    ['InstanceProfileArn', `arn:${partition}:iam::${account}:instance-profile/${pathName}`],
    ['InstanceProfileId', profileId(credentials.roleArn)],
  ])
}

/** `AIPA` and seventeen characters of the alphabet of AWS identifiers: looks like one, names nothing. */
function profileId(arn: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  let state = 0x811c9dc5
  let id = 'AIPA'
  for (let index = 0; index < 17; index++) {
    for (const unit of `${index}${arn}`)
      state = Math.imul(state ^ (unit.codePointAt(0) ?? 0), 0x01000193) >>> 0
    id += alphabet[state & 31]
  }
  return id
}

function document(fields: readonly (readonly [string, string])[]): string {
  return `{\n${fields.map(([key, value]) => `  "${key}" : ${JSON.stringify(value)}`).join(',\n')}\n}`
}
