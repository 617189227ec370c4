/**
 * What pods see of the node's metadata by default: every value of EC2's metadata that is not secret and is not another party's identity.
 * `docs/metadata.md` says for each value why, and who reads it; a test compares the two.
 */

/** Checks a value: returns what is served of it, or undefined if it does not have the format that EC2 documents. */
export type Format = (text: string) => string | undefined

const MAX_LENGTH = 16 * 1024

const format =
  (pattern: RegExp, longest = 255): Format =>
  (text) =>
    text.length <= longest && pattern.test(text) ? text : undefined

const id = format(/^[a-z]+-[\da-z]+$/)
const ids = format(/^[a-z]+-[\da-z]+(?:\n[a-z]+-[\da-z]+)*$/, MAX_LENGTH)
const whole = format(/^\d{1,12}$/)
/** Empty if the VPC has no names: `public-hostname`. */
const word = format(/^[\x21-\x7e]*$/)
/** May contain spaces: a VPC with several domain names has several in `local-hostname`. */
const line = format(/^[\x20-\x7e]*$/, 1024)
const lines = format(/^[\x20-\x7e\n]*$/, MAX_LENGTH)
const address = format(/^[\da-f.:]+$/i)
/** Also for blocks. */
const addresses = format(/^[\da-f.:/]+(?:\n[\da-f.:/]+)*$/i, MAX_LENGTH)
/** The first is the interface's own; with the AWS VPC CNI, the others are the addresses of the node's other pods. */
const firstAddress: Format = (text) => address(text.split('\n', 1)[0] ?? '')

const json: Format = (text) => {
  if (text.length > MAX_LENGTH) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? text : undefined
  } catch {
    return undefined
  }
}

/** Any text in any language, such as a tag's value, but no control characters except tab and newline. */
export const anyText: Format = format(/^[^\u0000-\u0008\u000b-\u001f\u007f]*$/, MAX_LENGTH)

const INTERFACE = 'meta-data/network/interfaces/macs/*'

/** Path below `/latest/`, in which a star stands for one name → the format of its value. */
export const LEAVES: Readonly<Record<string, Format>> = {
  'meta-data/ami-id': id,
  'meta-data/ami-launch-index': whole,
  'meta-data/ami-manifest-path': line,
  'meta-data/ancestor-ami-ids': ids,
  'meta-data/block-device-mapping/*': word,
  'meta-data/events/maintenance/history': json,
  'meta-data/events/maintenance/scheduled': json,
  'meta-data/hostname': line,
  'meta-data/instance-action': word,
  'meta-data/instance-id': id,
  'meta-data/instance-life-cycle': word,
  'meta-data/instance-type': word,
  'meta-data/ipv6': address,
  'meta-data/kernel-id': id,
  'meta-data/local-hostname': line,
  'meta-data/local-ipv4': address,
  'meta-data/mac': address,
  'meta-data/metrics/vhostmd': lines,
  [`${INTERFACE}/device-number`]: whole,
  [`${INTERFACE}/interface-id`]: id,
  [`${INTERFACE}/ipv4-associations/*`]: addresses,
  [`${INTERFACE}/ipv6s`]: addresses,
  [`${INTERFACE}/local-hostname`]: line,
  [`${INTERFACE}/local-ipv4s`]: firstAddress,
  [`${INTERFACE}/mac`]: address,
  [`${INTERFACE}/network-card`]: whole,
  [`${INTERFACE}/network-card-index`]: whole,
  [`${INTERFACE}/owner-id`]: word,
  [`${INTERFACE}/public-hostname`]: line,
  [`${INTERFACE}/public-ipv4s`]: addresses,
  [`${INTERFACE}/security-group-ids`]: ids,
  [`${INTERFACE}/security-groups`]: lines,
  [`${INTERFACE}/subnet-id`]: id,
  [`${INTERFACE}/subnet-ipv4-cidr-block`]: addresses,
  [`${INTERFACE}/subnet-ipv6-cidr-blocks`]: addresses,
  [`${INTERFACE}/vpc-id`]: id,
  [`${INTERFACE}/vpc-ipv4-cidr-block`]: addresses,
  [`${INTERFACE}/vpc-ipv4-cidr-blocks`]: addresses,
  [`${INTERFACE}/vpc-ipv6-cidr-blocks`]: addresses,
  'meta-data/placement/*': line,
  'meta-data/product-codes': lines,
  'meta-data/profile': word,
  'meta-data/public-hostname': line,
  'meta-data/public-ipv4': address,
  'meta-data/ramdisk-id': id,
  'meta-data/reservation-id': id,
  'meta-data/security-groups': lines,
  'meta-data/services/*': word,
  'meta-data/system': word,
  'dynamic/fws/instance-monitoring': word,
  'dynamic/instance-identity/document': json,
}

const PATTERNS = Object.entries(LEAVES).map(([path, judge]) => ({ names: path.split('/'), judge }))

const fits = (pattern: string | undefined, name: string) => pattern === '*' || pattern === name

/** The format of a value that is served by default, or undefined. */
export function formatOf(path: string): Format | undefined {
  const names = path.split('/')
  return PATTERNS.find(
    (pattern) =>
      pattern.names.length === names.length && names.every((name, at) => fits(pattern.names[at], name)),
  )?.judge
}

/**
 * What a directory may contain according to the table: its names, directories with a slash. Empty if nothing below it is served by
 * default.
 *
 * @param directory with its slash
 */
export function knownNames(directory: string): readonly string[] {
  const above = directory.split('/').slice(0, -1)
  const names = PATTERNS.filter(({ names }) => above.every((name, at) => fits(names[at], name)))
    .filter(({ names }) => names.length > above.length)
    .map(({ names }) => `${names[above.length]}${names.length > above.length + 1 ? '/' : ''}`)
  return [...new Set(names)]
}
