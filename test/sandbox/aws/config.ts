/** Settings of the stand-in, with the defaults of an ordinary node in eu-west-1. */

export type AwsConfig = {
  /** Twelve digits. */
  readonly account: string
  readonly region: string
  readonly availabilityZone: string
  readonly availabilityZoneId: string
  readonly instanceId: string
  readonly instanceType: string
  readonly amiId: string
  readonly lifeCycle: 'on-demand' | 'spot'
  readonly localIpv4: string
  readonly publicIpv4: string
  readonly mac: string
  readonly vpcId: string
  readonly subnetId: string
  readonly nodeRoleArn: string
  readonly instanceProfileArn: string
  /** Base role ARN with its trailing slash: the prefix of a role given by name. */
  readonly base: string
  /** `host:port` to serve the metadata service on; port 0 for any. */
  readonly imds: readonly string[]
  /** `host:port` to serve STS on. */
  readonly sts: readonly string[]
  /** Path of the control socket (at most 107 bytes). */
  readonly controlSocket: string
  /** A directory that belongs to the process and is removed when it ends; empty for none. */
  readonly temporaryDirectory: string
}

/** The addresses that AWS listens on in a network namespace of its own. */
export const REAL_IMDS = ['169.254.169.254:80', '[fd00:ec2::254]:80'] as const

/** Fills in missing values. Pure; idempotent. */
export function resolveConfig(input: Partial<AwsConfig>): AwsConfig {
  const account = input.account ?? '111111111111'
  const region = input.region ?? 'eu-west-1'
  const availabilityZone = input.availabilityZone ?? `${region}b`
  const base = input.base ?? `arn:${partitionOf(region)}:iam::${account}:role/`
  const nodeRoleArn = input.nodeRoleArn ?? `${base}node`
  return {
    account,
    region,
    availabilityZone,
    base,
    nodeRoleArn,
    availabilityZoneId: input.availabilityZoneId ?? zoneId(region, availabilityZone),
    instanceId: input.instanceId ?? 'i-0abc1234567890def',
    instanceType: input.instanceType ?? 'm5.large',
    amiId: input.amiId ?? 'ami-0abcdef1234567890',
    lifeCycle: input.lifeCycle ?? 'on-demand',
    localIpv4: input.localIpv4 ?? '10.0.0.10',
    publicIpv4: input.publicIpv4 ?? '192.0.2.54',
    mac: input.mac ?? '02:29:96:8f:6a:2d',
    vpcId: input.vpcId ?? 'vpc-0123456789abcdef0',
    subnetId: input.subnetId ?? 'subnet-0123456789abcdef0',
    instanceProfileArn: input.instanceProfileArn ?? nodeRoleArn.replace(':role/', ':instance-profile/'),
    imds: input.imds ?? ['127.0.0.1:0'],
    sts: input.sts ?? ['127.0.0.1:0'],
    controlSocket: input.controlSocket ?? '',
    temporaryDirectory: input.temporaryDirectory ?? '',
  }
}

/** `aws`, `aws-cn` or `aws-us-gov`. */
export function partitionOf(region: string): string {
  if (region.startsWith('cn-')) return 'aws-cn'
  return region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws'
}

/** `eu-west-1b` → `euw1-az2`: the form of AWS's ids, but not its mapping, which is shuffled per account. */
function zoneId(region: string, zone: string): string {
  const short = region.replace(
    /-([a-z]+)-(\d+)$/,
    (_, side: string, n: string) =>
      (side.match(/north|south|east|west|central/g) ?? []).map((s) => s[0]).join('') + n,
  )
  return `${short.replaceAll('-', '')}-az${(zone.codePointAt(zone.length - 1) ?? 97) - 96}`
}

/** Splits `host:port`, with brackets around an IPv6 address. Throws on anything else. */
export function splitHostPort(text: string): { host: string; port: number } {
  const groups = /^(?:\[(?<v6>[0-9a-f:.]+)\]|(?<v4>[0-9.]+|localhost)):(?<port>\d{1,5})$/i.exec(text)?.groups
  const host = groups?.v6 ?? groups?.v4
  if (!groups || !host) throw new Error(`"${text}" is not host:port; write 127.0.0.1:0 or [::1]:0`)
  return { host, port: Number(groups.port) }
}

/** Reads the JSON settings given to the process: every value is a text or an array of texts, as in the type. */
export function parseConfig(text: string): AwsConfig {
  const raw: unknown = JSON.parse(text)
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    throw new Error('the settings are not a JSON object')
  const config = resolveConfig(raw)
  for (const [key, value] of Object.entries(config)) {
    const wanted = key === 'imds' || key === 'sts' ? Array.isArray(value) : typeof value === 'string'
    if (!wanted) throw new Error(`setting ${key} has the wrong type`)
  }
  if (!/^\d{12}$/.test(config.account)) throw new Error(`account "${config.account}" is not twelve digits`)
  if (config.controlSocket === '') throw new Error('setting controlSocket is missing')
  return config
}
