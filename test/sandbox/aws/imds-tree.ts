/** The paths of the metadata service and their values, which are computed on request. */
import { createHash } from 'node:crypto'
import { partitionOf } from './config.ts'
import type { Session } from './iam.ts'
import type { World } from './world.ts'

/** Path below `/latest/` → text. */
export type Tree = ReadonlyMap<string, () => string>

/** Part of the user data, which must never reach a pod: tests look for it wherever a pod can read. */
export const USER_DATA_CANARY = 'user-data-secret-that-no-pod-may-see'

/** Everything that the metadata service serves now. */
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

/** The listing of a directory, LF-separated without a last newline, or undefined when nothing is below the path. */
export function listing(tree: Tree, path: string): string | undefined {
  // The root of a version shows its three children without slashes.
  if (path === '') return ['dynamic', 'meta-data', ...(tree.has('user-data') ? ['user-data'] : [])].join('\n')
  // The only directory that does not list the names below it, but a number and, for people, the key's name.
  if (path === 'meta-data/public-keys' && tree.has(`${path}/0/openssh-key`)) return '0=sandbox'
  const names = new Set<string>()
  for (const key of tree.keys()) {
    if (!key.startsWith(`${path}/`)) continue
    const rest = key.slice(path.length + 1)
    const slash = rest.indexOf('/')
    // Whatever the name of a role is, its document is a leaf of the list of roles.
    names.add(slash < 0 ? rest : rest.slice(0, slash + 1))
  }
  return names.size === 0 ? undefined : [...names].sort().join('\n')
}

/** The paths that a Nitro instance in a VPC with a public address lists, from a capture of June 2025. */
function instanceEntries(world: World): Record<string, string> {
  const { region, localIpv4, publicIpv4, mac, ...config } = world.config
  const dashed = (address: string) => address.replaceAll('.', '-')
  const hostname = `ip-${dashed(localIpv4)}.${region === 'us-east-1' ? 'ec2.internal' : `${region}.compute.internal`}`
  const partition = partitionOf(region)
  const domain = partition === 'aws-cn' ? 'amazonaws.com.cn' : 'amazonaws.com'
  const publicHostname = `ec2-${dashed(publicIpv4)}.${region}.compute.${domain}`
  return {
    'ami-id': config.amiId,
    'ami-launch-index': '0',
    'ami-manifest-path': '(unknown)',
    'autoscaling/target-lifecycle-state': 'InService',
    'block-device-mapping/ami': 'xvda',
    'block-device-mapping/root': '/dev/xvda',
    'events/maintenance/history': '[]',
    'events/maintenance/scheduled': '[]',
    hostname,
    'instance-action': 'none',
    'instance-id': config.instanceId,
    'instance-life-cycle': config.lifeCycle,
    'instance-type': config.instanceType,
    'local-hostname': hostname,
    'local-ipv4': localIpv4,
    mac,
    'managed-ssh-keys/signer-cert': blob(config.instanceId, 'signer-cert', 700),
    'metrics/vhostmd': '<?xml version="1.0" encoding="UTF-8"?>',
    ...interfaceEntries(world, hostname, publicHostname),
    'placement/availability-zone': config.availabilityZone,
    'placement/availability-zone-id': config.availabilityZoneId,
    'placement/region': region,
    profile: 'default-hvm',
    'public-hostname': publicHostname,
    'public-ipv4': publicIpv4,
    'public-keys/0/openssh-key': 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNhbmRib3g sandbox',
    'reservation-id': `r-${config.instanceId.slice(2)}`,
    'security-groups': 'node',
    'services/domain': domain,
    'services/partition': partition,
    system: 'nitro',
  }
}

/** The addresses of pods with the AWS VPC CNI: more private addresses of the node's interface, and a prefix. */
function interfaceEntries(
  { config }: World,
  hostname: string,
  publicHostname: string,
): Record<string, string> {
  const nic = `network/interfaces/macs/${config.mac}`
  const [a, b, c, d] = config.localIpv4.split('.').map(Number)
  const next = (step: number) => `${a}.${b}.${c}.${((d ?? 0) + step) % 256}`
  return Object.fromEntries(
    Object.entries({
      'device-number': '0',
      'interface-id': `eni-${config.instanceId.slice(2)}`,
      [`ipv4-associations/${config.publicIpv4}`]: config.localIpv4,
      'ipv4-prefix': `${a}.${b}.${c}.224/28`,
      'local-hostname': hostname,
      'local-ipv4s': [config.localIpv4, next(101), next(102)].join('\n'),
      mac: config.mac,
      'owner-id': config.account,
      'public-hostname': publicHostname,
      'public-ipv4s': config.publicIpv4,
      'security-group-ids': `sg-${config.vpcId.slice(4)}`,
      'security-groups': 'node',
      'subnet-id': config.subnetId,
      'subnet-ipv4-cidr-block': `${a}.${b}.${c}.0/24`,
      'vpc-id': config.vpcId,
      'vpc-ipv4-cidr-block': `${a}.${b}.0.0/16`,
      'vpc-ipv4-cidr-blocks': `${a}.${b}.0.0/16`,
    }).map(([name, value]) => [`${nic}/${name}`, value]),
  )
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
    'dynamic/fws/instance-monitoring': 'disabled',
    'dynamic/instance-identity/document': text,
    'dynamic/instance-identity/pkcs7': () => blob(text, 'pkcs7', 900),
    'dynamic/instance-identity/rsa2048': () => blob(text, 'rsa2048', 1200),
    'dynamic/instance-identity/signature': () => blob(text, 'signature', 128),
  }
}

/** Base64 in lines, of the size of AWS's signed blobs. It is no signature, because nobody here has AWS's key to check one. */
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
