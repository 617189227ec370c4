/** The paths of the metadata service and what stands there. Values are made when asked for. */
import { createHash } from 'node:crypto'
import { partitionOf } from './config.ts'
import type { Session } from './iam.ts'
import type { World } from './world.ts'

/** Path below `/latest/` → text. */
export type Tree = ReadonlyMap<string, () => string>

/** Stands in the user data, which must never reach a pod: look for it wherever a pod can read. */
export const USER_DATA_CANARY = 'user-data-secret-that-no-pod-may-see'

/** Everything the metadata service has right now. */
export function metadataTree(world: World): Tree {
  const tree = new Map<string, () => string>()
  const put = (entries: Readonly<Record<string, string | (() => string)>>, prefix = '') => {
    for (const [path, value] of Object.entries(entries))
      tree.set(prefix + path, typeof value === 'string' ? () => value : value)
  }
  put(instanceEntries(world), 'meta-data/')
  put(iamEntries(world), 'meta-data/')
  put(identityEntries(world))
  for (const [key, value] of Object.entries(world.imds.instanceTags ?? {}))
    put({ [key]: value }, 'meta-data/tags/instance/')
  put({
    'user-data': `#!/bin/bash\nset -eu\nexport BOOTSTRAP_SECRET='${USER_DATA_CANARY}'\n/etc/eks/bootstrap.sh sandbox\n`,
  })
  for (const [path, value] of Object.entries(world.imds.override)) {
    if (value === null) tree.delete(path)
    else tree.set(path, () => value)
  }
  return tree
}

/** The listing of a directory, LF-separated without a last newline, or undefined when nothing lies below the path. */
export function listing(tree: Tree, path: string): string | undefined {
  // The root of a version shows its three children without slashes.
  if (path === '') return ['dynamic', 'meta-data', ...(tree.has('user-data') ? ['user-data'] : [])].join('\n')
  const names = new Set<string>()
  for (const key of tree.keys()) {
    if (!key.startsWith(`${path}/`)) continue
    const rest = key.slice(path.length + 1)
    const slash = rest.indexOf('/')
    // Whatever a role is called, its document is a leaf of the list of roles.
    names.add(slash < 0 ? rest : rest.slice(0, slash + 1))
  }
  return names.size === 0 ? undefined : [...names].sort().join('\n')
}

function instanceEntries({ config }: World): Record<string, string> {
  const { region, localIpv4, mac } = config
  const suffix = region === 'us-east-1' ? 'ec2.internal' : `${region}.compute.internal`
  const hostname = `ip-${localIpv4.replaceAll('.', '-')}.${suffix}`
  const partition = partitionOf(region)
  const nic = `network/interfaces/macs/${mac}`
  return {
    'ami-id': config.amiId,
    'ami-launch-index': '0',
    hostname,
    'instance-action': 'none',
    'instance-id': config.instanceId,
    'instance-life-cycle': config.lifeCycle,
    'instance-type': config.instanceType,
    'local-hostname': hostname,
    'local-ipv4': localIpv4,
    mac,
    [`${nic}/device-number`]: '0',
    [`${nic}/local-ipv4s`]: localIpv4,
    [`${nic}/mac`]: mac,
    [`${nic}/owner-id`]: config.account,
    [`${nic}/subnet-id`]: config.subnetId,
    [`${nic}/vpc-id`]: config.vpcId,
    'events/maintenance/history': '[]',
    'events/maintenance/scheduled': '[]',
    'placement/availability-zone': config.availabilityZone,
    'placement/availability-zone-id': config.availabilityZoneId,
    'placement/region': region,
    profile: 'default-hvm',
    'reservation-id': `r-${config.instanceId.slice(2)}`,
    'security-groups': 'node',
    'services/domain': partition === 'aws-cn' ? 'amazonaws.com.cn' : 'amazonaws.com',
    'services/partition': partition,
  }
}

function iamEntries(world: World): Record<string, () => string> {
  const { config, node, imds } = world
  const ownAgents = {
    'identity-credentials/ec2/info': () =>
      document({ Code: 'Success', LastUpdated: stamp(world.now()), AccountId: config.account }),
    'identity-credentials/ec2/security-credentials/ec2-instance': () =>
      credentialDocument(node.instanceIdentity(), {}),
  }
  if (!imds.instanceProfile) return ownAgents
  const role = node.role.slice(node.role.lastIndexOf('/') + 1)
  const credentials = (more: Record<string, string>) => () => {
    if (imds.credentialCode === 'Success') return credentialDocument(node.credentials(), more)
    return document({
      Code: imds.credentialCode,
      Message: `EC2 cannot assume the role ${role}. Please see documentation at https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html#troubleshoot_iam-ec2_errors-info-doc.`,
      LastUpdated: stamp(world.now()),
    })
  }
  return {
    ...ownAgents,
    'iam/info': () =>
      document({
        Code: 'Success',
        LastUpdated: stamp(node.credentials().issuedAt),
        InstanceProfileArn: node.profile,
        InstanceProfileId: node.instanceProfileId,
      }),
    [`iam/security-credentials/${role}`]: credentials({}),
    ...(imds.extendedCredentials
      ? { [`iam/security-credentials-extended/${role}`]: credentials({ AccountId: config.account }) }
      : {}),
  }
}

function identityEntries({ config }: World): Record<string, string | (() => string)> {
  const identity = {
    accountId: config.account,
    architecture: 'x86_64',
    availabilityZone: config.availabilityZone,
    billingProducts: null,
    devpayProductCodes: null,
    marketplaceProductCodes: null,
    imageId: config.amiId,
    instanceId: config.instanceId,
    instanceType: config.instanceType,
    kernelId: null,
    pendingTime: '2026-01-05T08:09:10Z',
    privateIp: config.localIpv4,
    ramdiskId: null,
    region: config.region,
    version: '2017-09-30',
  }
  const text = document(identity)
  return {
    'dynamic/instance-identity/document': text,
    'dynamic/instance-identity/pkcs7': () => blob(text, 'pkcs7', 900),
    'dynamic/instance-identity/rsa2048': () => blob(text, 'rsa2048', 1200),
    'dynamic/instance-identity/signature': () => blob(text, 'signature', 128),
  }
}

/** Base64 in lines, of the size of AWS's signed blobs. Not a signature: nobody here has AWS's key to check one. */
function blob(seed: string, kind: string, length: number): string {
  let bytes = Buffer.alloc(0)
  for (let n = 0; bytes.length < length; n++)
    bytes = Buffer.concat([bytes, createHash('sha256').update(`${kind}${n}${seed}`).digest()])
  return (
    bytes
      .subarray(0, length)
      .toString('base64')
      .match(/.{1,76}/g) ?? []
  ).join('\n')
}

function credentialDocument(session: Session, more: Readonly<Record<string, string>>): string {
  return document({
    Code: 'Success',
    LastUpdated: stamp(session.issuedAt),
    Type: 'AWS-HMAC',
    AccessKeyId: session.accessKeyId,
    SecretAccessKey: session.secretAccessKey,
    Token: session.sessionToken,
    Expiration: stamp(session.expiresAt),
    ...more,
  })
}

/** JSON as EC2 prints it: two spaces, `"key" : "value"`, one key per line. */
function document(members: Readonly<Record<string, string | null>>): string {
  const lines = Object.entries(members).map(([key, value]) => `  "${key}" : ${JSON.stringify(value)}`)
  return `{\n${lines.join(',\n')}\n}`
}

const stamp = (milliseconds: number) => new Date(milliseconds).toISOString().replace(/\.\d{3}Z$/, 'Z')
