import type { RoleIdentity } from '../authorize/entitle.ts'
import type { Imds } from '../instance/imds.ts'
import type { Sts } from './sts-client.ts'

/** Whose credentials the broker has. */
export type CallerIdentity = {
  /** ARN of the role (without its path, which AWS does not return) or of the user. */
  readonly arn: string
  /** Where bare role names belong: `arn:<partition>:iam::<account>:role/`. */
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
export function baseOf(arn: string): string | undefined {
  const { partition, account } = ARN.exec(arn)?.groups ?? {}
  return partition && account ? `arn:${partition}:iam::${account}:role/` : undefined
}

/**
 * Learns whose credentials the broker has: from the instance profile when they are its own (no call and no right at STS needed),
 * else from STS GetCallerIdentity.
 *
 * @throws if neither says
 */
export async function callerIdentity(
  sts: Sts,
  imds: Imds,
): Promise<{ readonly keyId: string; readonly caller: CallerIdentity }> {
  const keyId = await sts.accessKeyId()
  const own = await instanceRole(imds, keyId).catch(() => undefined)
  return { keyId, caller: own ?? ofCallerArn(await sts.callerArn()) }
}

/** Name of the instance profile's role now; undefined if there is none, or the metadata service does not say. */
export async function instanceRoleName(imds: Imds): Promise<string | undefined> {
  const name = await imds.get(ROLES).catch(() => undefined)
  return name && /^[\w+=,.@-]{1,64}$/.test(name) ? name : undefined
}

/** The role of the instance profile, by its names alone: whether or not anybody uses its credentials. Undefined if there is none. */
export async function instanceIdentity(imds: Imds): Promise<CallerIdentity | undefined> {
  const [info, name] = await Promise.all([imds.get('meta-data/iam/info'), instanceRoleName(imds)])
  const base = info && baseOf(String(JSON.parse(info).InstanceProfileArn))
  return base && name ? inAccount(base, name) : undefined
}

/** The instance profile's role, when `keyId` is of its credentials. */
async function instanceRole(imds: Imds, keyId: string): Promise<CallerIdentity | undefined> {
  const instance = await instanceIdentity(imds)
  if (!instance) return undefined
  const document = JSON.parse((await imds.get(ROLES + instance.role.name)) ?? '{}')
  return document.AccessKeyId === keyId ? instance : undefined
}

/** @param arn `arn:aws:sts::…:assumed-role/<name>/<session>` or `arn:aws:iam::…:user/<path/name>` */
export function ofCallerArn(arn: string): CallerIdentity {
  const base = baseOf(arn)
  if (!base) throw new Error(`STS says the broker is ${JSON.stringify(arn)}, which is no IAM identity`)
  const role = /:assumed-role\/(?<name>[^/]+)\//.exec(arn)?.groups?.name
  return role ? inAccount(base, role) : { arn, base, role: { account: accountOf(base), name: '' } }
}

function inAccount(base: string, name: string): CallerIdentity {
  return { arn: base + name, base, role: { account: accountOf(base), name } }
}

const accountOf = (base: string) => base.split(':')[4] ?? ''
