/**
 * Verifies AWS Signature Version 4 (IAM User Guide, "Create a signed AWS API request"): header form and
 * presigned query form.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { StsError } from './sts-error.ts'

/** A request as it arrived. */
export type WireRequest = {
  readonly method: string
  /** Path before `?`, undecoded. */
  readonly path: string
  /** Query after `?`, undecoded; empty when there is none. */
  readonly query: string
  /** Names and values in order of arrival, as pairs of Node's `rawHeaders`. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer
}

/** What a request says about its signature. */
export type Signature = {
  readonly accessKeyId: string
  /** Credential scope: `YYYYMMDD`, region, service. */
  readonly date: string
  readonly region: string
  readonly service: string
  readonly signedHeaders: readonly string[]
  /** Lower-case hex. */
  readonly hex: string
  /** `YYYYMMDDTHHMMSSZ`. */
  readonly time: string
  readonly securityToken: string | undefined
  /** Validity of a presigned request in seconds; undefined in header form. */
  readonly expires: number | undefined
}

const ALGORITHM = 'AWS4-HMAC-SHA256'

/** Reads a request's signature. Throws MissingAuthenticationToken or IncompleteSignature. */
export function parseSignature(request: WireRequest): Signature {
  const query = new URLSearchParams(request.query)
  const authorization = header(request, 'authorization')
  if (authorization !== undefined) return parseHeaderForm(request, authorization)
  if (query.get('X-Amz-Algorithm') === ALGORITHM) return parseQueryForm(query)
  throw new StsError('MissingAuthenticationToken', 403, 'Request is missing Authentication Token')
}

function parseHeaderForm(request: WireRequest, authorization: string): Signature {
  const [algorithm = '', ...rest] = authorization.split(' ')
  if (algorithm !== ALGORITHM) throw incomplete(`Unsupported AWS 'algorithm': '${algorithm.slice(0, 40)}'.`)
  const parts = new Map<string, string>()
  for (const part of rest.join(' ').split(',')) {
    const at = part.indexOf('=')
    if (at > 0) parts.set(part.slice(0, at).trim(), part.slice(at + 1).trim())
  }
  const time = header(request, 'x-amz-date') ?? basicDate(header(request, 'date'))
  const missing = ['Credential', 'Signature', 'SignedHeaders'].filter((name) => !parts.get(name))
  if (missing.length > 0 || time === undefined) {
    const texts = missing.map((name) => `Authorization header requires '${name}' parameter.`)
    if (time === undefined)
      texts.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    throw incomplete(texts.join(' '))
  }
  return {
    ...parseCredential(parts.get('Credential') ?? ''),
    signedHeaders: (parts.get('SignedHeaders') ?? '').split(';'),
    hex: parts.get('Signature') ?? '',
    time: checkedTime(time),
    securityToken: header(request, 'x-amz-security-token'),
    expires: undefined,
  }
}

function parseQueryForm(query: URLSearchParams): Signature {
  const need = (name: string) => {
    const value = query.get(name)
    if (!value) throw incomplete(`AWS query-string parameters must include '${name}'.`)
    return value
  }
  const expires = Number(query.get('X-Amz-Expires') ?? '900')
  if (!Number.isInteger(expires) || expires < 1 || expires > 604_800)
    throw incomplete('X-Amz-Expires must be a number of seconds from 1 to 604800.')
  return {
    ...parseCredential(need('X-Amz-Credential')),
    signedHeaders: need('X-Amz-SignedHeaders').split(';'),
    hex: need('X-Amz-Signature'),
    time: checkedTime(need('X-Amz-Date')),
    securityToken: query.get('X-Amz-Security-Token') ?? undefined,
    expires,
  }
}

function parseCredential(text: string): Pick<Signature, 'accessKeyId' | 'date' | 'region' | 'service'> {
  const [accessKeyId, date, region, service, terminator, ...more] = text.split('/')
  if (!accessKeyId || !date || !region || !service || terminator !== 'aws4_request' || more.length > 0)
    throw incomplete(
      `Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.`,
    )
  return { accessKeyId, date, region, service }
}

/**
 * Throws SignatureDoesNotMatch unless the request was signed with this secret. Host and every x-amz-* header of the
 * request must be signed, because otherwise headers could be added in transit.
 */
export function checkSignature(request: WireRequest, signature: Signature, secretAccessKey: string): void {
  if (!signature.signedHeaders.includes('host'))
    throw mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
  for (const [name] of request.headers) {
    const lower = name.toLowerCase()
    const mustBeSigned = lower.startsWith('x-amz-') || (lower === 'date' && dateOnly(request))
    if (mustBeSigned && !signature.signedHeaders.includes(lower))
      throw mismatch(`'${lower}' must be a 'SignedHeader' in the AWS Authorization.`)
  }
  const { date, region, service } = signature
  const scope = `${date}/${region}/${service}/aws4_request`
  const hash = sha256(canonicalRequest(request, signature))
  const key = [date, region, service, 'aws4_request'].reduce(
    (secret: string | Buffer, part) => hmac(secret, part),
    `AWS4${secretAccessKey}`,
  )
  const expected = hmac(key, `${ALGORITHM}\n${signature.time}\n${scope}\n${hash}`)
  const given = Buffer.from(signature.hex, 'hex')
  if (given.length !== expected.length || !timingSafeEqual(given, expected))
    throw mismatch(
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
    )
}

/** The canonical request (its hash is signed). Throws if a signed header is missing. */
function canonicalRequest(request: WireRequest, signature: Signature): string {
  const headers = signature.signedHeaders.map((name) => {
    const values = request.headers.filter(([key]) => key.toLowerCase() === name)
    if (values.length === 0) throw mismatch(`The signed header '${name.slice(0, 80)}' is not in the request.`)
    return `${name}:${values.map(([, value]) => value.trim().replace(/ +/g, ' ')).join(',')}\n`
  })
  return [
    request.method,
    canonicalPath(request.path),
    canonicalQuery(request.query),
    headers.join(''),
    signature.signedHeaders.join(';'),
    sha256(request.body),
  ].join('\n')
}

// Every service except S3 encodes the path, as it was sent, a second time.
function canonicalPath(path: string): string {
  return path.split('/').map(encode).join('/') || '/'
}

function canonicalQuery(query: string): string {
  const pairs = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): [string, string] => {
      const at = pair.indexOf('=')
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
      return [encode(decode(name)), encode(decode(value))]
    })
    .filter(([name]) => name !== 'X-Amz-Signature')
  // By code point, not by locale: sorting is part of the signature.
  pairs.sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]))
  return pairs.map(([name, value]) => `${name}=${value}`).join('&')
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw incomplete('The query string is not valid percent-encoding.')
  }
}

/** RFC 3986 unreserved characters stay, all others are percent-encoded in upper case. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

function header(request: WireRequest, name: string): string | undefined {
  return request.headers.find(([key]) => key.toLowerCase() === name)?.[1]
}

const dateOnly = (request: WireRequest) => header(request, 'x-amz-date') === undefined

function checkedTime(time: string): string {
  if (/^\d{8}T\d{6}Z$/.test(time) && !Number.isNaN(parseTime(time))) return time
  throw incomplete("Date must be in ISO-8601 'basic format'.")
}

function basicDate(date: string | undefined): string | undefined {
  if (date === undefined || /^\d{8}T\d{6}Z$/.test(date)) return date
  const time = Date.parse(date)
  return Number.isNaN(time) ? date : formatTime(time)
}

/** `YYYYMMDDTHHMMSSZ` → milliseconds since the epoch; NaN if it is no time. */
export function parseTime(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

/** Milliseconds since the epoch → `YYYYMMDDTHHMMSSZ`. */
export function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/[-:]|\.\d{3}/g, '')
}

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')
const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest()
const mismatch = (message: string) => new StsError('SignatureDoesNotMatch', 403, message)
const incomplete = (message: string) => new StsError('IncompleteSignature', 400, message)
