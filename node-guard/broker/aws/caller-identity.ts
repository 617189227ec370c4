import type { RoleIdentity } from '../authorize/entitlement.ts'
import type { Imds } from '../instance/imds.ts'
import type { Sts } from './sts-client.ts'

/** Whose credentials the broker has. */
export type CallerIdentity = {
  /** ARN of the role (without its path, which AWS does not return) or of the user. */
  readonly arn: string
  /** The prefix of role names that are not ARNs: `arn:<partition>:iam::<account>:role/`. */
  readonly base: string
  readonly role: RoleIdentity
}

const ROLES = 'meta-data/iam/security-credentials/'
const ARN = /^arn:(?<partition>aws(?:-[a-z]+)*):(?:iam|sts)::(?<account>\d{12}):/

/**
 * The base role ARN in the account of an instance profile, an assumed role or a user. Paths of an instance profile say nothing
 * about its roles' paths and are dropped, as in kube2iam and kiam.
 *
 * @returns undefined if it is not an IAM or STS ARN
 */
export function baseRoleArnOf(arn: string): string | undefined {
  const { partition, account } = ARN.exec(arn)?.groups ?? {}
  return partition && account ? `arn:${partition}:iam::${account}:role/` : undefined
}

/**
 * Determines whose credentials the broker has: from the instance profile if they are its own, which needs no call of STS and no permission,
 * else from STS GetCallerIdentity.
 *
 * @throws if neither answers
 */
export async function callerIdentity(
  sts: Sts,
  imds: Imds,
): Promise<{ readonly keyId: string; readonly caller: CallerIdentity }> {
  const keyId = await sts.accessKeyId()
  const own = await instanceRole(imds, keyId).catch(() => undefined)
  return { keyId, caller: own ?? identityOfCallerArn(await sts.callerArn()) }
}

/** Current name of the instance profile's role; undefined if there is none, or the metadata service does not answer. */
export async function instanceRoleName(imds: Imds): Promise<string | undefined> {
  const name = await imds.get(ROLES).catch(() => undefined)
  return name && /^[\w+=,.@-]{1,64}$/.test(name) ? name : undefined
}

/** The role of the instance profile, whether or not its credentials are in use; undefined if there is none. @throws if the metadata service does not answer */
export async function instanceIdentity(imds: Imds): Promise<CallerIdentity | undefined> {
  const [info, name] = await Promise.all([imds.get('meta-data/iam/info'), instanceRoleName(imds)])
  const base = info && baseRoleArnOf(String(JSON.parse(info).InstanceProfileArn))
  return base && name ? inAccount(base, name) : undefined
}

/** The instance profile's role if `keyId` belongs to its credentials, else undefined. */
async function instanceRole(imds: Imds, keyId: string): Promise<CallerIdentity | undefined> {
  const instance = await instanceIdentity(imds)
  if (!instance) return undefined
  const document = JSON.parse((await imds.get(ROLES + instance.role.name)) ?? '{}')
  return document.AccessKeyId === keyId ? instance : undefined
}

/**
 * @param arn `arn:aws:sts::…:assumed-role/<name>/<session>` or `arn:aws:iam::…:user/<path/name>`
 * @throws for any other text
 */
export function identityOfCallerArn(arn: string): CallerIdentity {
  const base = baseRoleArnOf(arn)
  if (!base) throw new Error(`STS says the broker is ${JSON.stringify(arn)}, which is no IAM identity`)
  const role = /:assumed-role\/(?<name>[^/]+)\//.exec(arn)?.groups?.name
  return role ? inAccount(base, role) : { arn, base, role: { account: accountOf(base), name: '' } }
}

function inAccount(base: string, name: string): CallerIdentity {
  return { arn: base + name, base, role: { account: accountOf(base), name } }
}

const accountOf = (base: string) => base.split(':')[4] ?? ''
