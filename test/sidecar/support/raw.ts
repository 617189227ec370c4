/** HTTP by hand over TCP, with exact bytes and exact answers. */
import { connect } from 'node:net'

export type RawAnswer = {
  readonly status: number
  readonly version: string
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

export type Exchange = {
  readonly method?: string
  /** Request target, exactly as in the request line. */
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  /** `null` sends none. */
  readonly host?: string | null
  readonly version?: '1.0' | '1.1'
  readonly body?: string
  /** Address to connect to. */
  readonly address?: string
}

const DEADLINE_MS = 60_000

/** Sends bytes and collects everything until the other side closes; with `halfClose` it closes its own half first. */
export function send(
  port: number,
  bytes: string,
  options: { address?: string; halfClose?: boolean } = {},
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const socket = connect({ port, host: options.address ?? '127.0.0.1' })
  let received = ''
  socket.setEncoding('latin1')
  socket.setTimeout(DEADLINE_MS, () => socket.destroy(new Error(`no end of the answer; so far: ${received}`)))
  socket.on('data', (chunk: string) => {
    received += chunk
  })
  socket.on('error', (error) => (received === '' ? reject(error) : resolve(received)))
  socket.on('close', () => resolve(received))
  socket.on('connect', () =>
    options.halfClose ? socket.end(bytes, 'latin1') : socket.write(bytes, 'latin1'),
  )
  return promise
}

/** The bytes of a request. */
export function requestBytes(exchange: Exchange): string {
  const {
    method = 'GET',
    path = '/',
    headers = {},
    host = '169.254.169.254',
    version = '1.1',
    body,
  } = exchange
  const lines = [`${method} ${path} HTTP/${version}`]
  if (host !== null) lines.push(`Host: ${host}`)
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  if (body !== undefined) lines.push(`Content-Length: ${body.length}`)
  return `${lines.join('\r\n')}\r\n\r\n${body ?? ''}`
}

/** One request on a connection of its own. */
export async function ask(port: number, exchange: Exchange): Promise<RawAnswer> {
  const headers = { Connection: 'close', ...exchange.headers }
  const text = await send(
    port,
    requestBytes({ ...exchange, headers }),
    exchange.address ? { address: exchange.address } : {},
  )
  return parseAnswers(text, exchange.method === 'HEAD')[0] ?? fail(text)
}

function fail(text: string): never {
  throw new Error(`not an HTTP answer: ${JSON.stringify(text.slice(0, 200))}`)
}

/** Splits the text that was received over one connection into answers, by Content-Length. */
export function parseAnswers(text: string, head = false): RawAnswer[] {
  const answers: RawAnswer[] = []
  for (let rest = text; rest !== ''; ) {
    const end = rest.indexOf('\r\n\r\n')
    if (end === -1) fail(rest)
    const [line = '', ...fields] = rest.slice(0, end).split('\r\n')
    const [, version = '', status = ''] = /^HTTP\/(\d\.\d) (\d{3})/.exec(line) ?? fail(rest)
    const headers = new Map(fields.map((field) => splitField(field)))
    const after = rest.slice(end + 4)
    const [body, left] = head ? ['', after] : splitBody(headers, after)
    answers.push({ status: Number(status), version, headers, body })
    rest = left
  }
  return answers
}

/** The body at the start of `text`, and what follows it. */
function splitBody(headers: ReadonlyMap<string, string>, text: string): [body: string, rest: string] {
  if (headers.get('transfer-encoding') !== 'chunked') {
    const length = Number(headers.get('content-length') ?? 0)
    return [text.slice(0, length), text.slice(length)]
  }
  let [body, rest] = ['', text]
  for (;;) {
    const end = rest.indexOf('\r\n')
    const length = Number.parseInt(rest, 16)
    body += rest.slice(end + 2, end + 2 + length)
    rest = rest.slice(end + 4 + length)
    if (length === 0) return [body, rest]
    if (Number.isNaN(length)) fail(text)
  }
}

function splitField(field: string): [string, string] {
  const colon = field.indexOf(':')
  return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()]
}
