/**
 * A thin client of the API server over node:https, for broker and injector.
 *
 * `@kubernetes/client-node` (2.0.1) gives the types, and its `KubeConfig` the credentials (`kubeconfig.ts`). Its generated
 * client reads every answer whole, into classes, and opens a TLS connection for every request (decision 0050).
 */
import type { Agent, IncomingMessage } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { httpRequest, open } from '../http-request.ts'
import type { KubeAccess, KubeCredentials } from './access.ts'
import { jsonLines, MAX_OBJECT } from './json-lines.ts'
import { objectCutter } from './object-cutter.ts'

export type Query = Readonly<Record<string, string>>

/** How a list or a watch is read. */
export type Reading = {
  /** Asks for the objects' metadata alone (`PartialObjectMetadata`); a server that has no such form sends whole objects. */
  readonly metadataOnly?: boolean
  /**
   * Told of each object of a list as it arrives, or of {@link oversize}; the answer's own items are then empty. A client
   * that is not {@link KubeOptions.piecemeal} gives the items as ever.
   */
  readonly each?: (object: unknown) => void
  /** The list comes without pages, however long it is: with {@link each} it is read object by object by every client. */
  readonly whole?: boolean
}

export type Kube = {
  /** A JSON document. @throws {KubeError} for any status but 2xx @throws {TooLargeError} */
  readonly get: (path: string, query?: Query, reading?: Reading) => Promise<unknown>
  /** Creates, replaces or patches an object: by a JSON Patch where the body is an array, else by a merge patch. @throws {KubeError} */
  readonly send: (method: 'POST' | 'PUT' | 'PATCH', path: string, body: unknown) => Promise<unknown>
  /** The objects of a stream of JSON lines, until it ends; `oversize` for one too large to be read. @throws {KubeError} */
  readonly stream: (
    path: string,
    query: Query,
    signal: AbortSignal,
    reading?: Reading,
  ) => AsyncGenerator<unknown>
  readonly close: () => void
}

/** The API server's refusal; `status` is its HTTP status. */
export class KubeError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.name = 'KubeError'
    this.status = status
  }
}

export type KubeOptions = {
  readonly userAgent?: string
  /** For one whole exchange, milliseconds; of a watch, for the headers of its answer. */
  readonly timeoutMs?: number
  /**
   * Reads lists object by object as they arrive, and lists and watches without `managedFields`: no page is ever held. It
   * looks at every byte, which without Node's optimizing compilers costs more than it saves.
   */
  readonly piecemeal?: boolean
}

/** As client-go's. The key set of tokens is an `application/jwk-set+json`: asked for JSON alone, the API server answers 406. */
const ANY = 'application/json, */*'
/** A list must be asked for with another kind than a watch: the API server answers 406 otherwise. */
const METADATA = {
  list: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
  watch: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
}

/** A page of a list; where it is larger the same is asked for in smaller ones. */
const MAX_PAGE = 8 * 1024 * 1024
/** Read at once, in bytes: about a millisecond's work. */
const BYTES_A_TURN = 64 * 1024
/** Token and CA files are read again this often: the kubelet swaps them in place. */
const REREAD_MS = 30_000

/** A client for `access`. Connections are kept alive and shared; a changed CA or client certificate opens new ones. */
export function kubeClient(
  access: KubeAccess,
  clock: Clock,
  { userAgent = 'pod2iam', timeoutMs = 10_000, piecemeal = false }: KubeOptions = {},
): Kube {
  let credentials: KubeCredentials | undefined
  let readAt = Number.NEGATIVE_INFINITY
  let isRefused = false
  let agent: Agent | undefined

  let rereading: Promise<KubeCredentials> | undefined
  /** One at a time: a second agent would end the connections of the first. */
  const reread = () => {
    rereading ??= readAnew().finally(() => {
      rereading = undefined
    })
    return rereading
  }
  const readAnew = async () => {
    const fresh = await readInTime()
    readAt = clock.now()
    isRefused = false
    if (!agent || !sameTls(credentials, fresh)) {
      const made = await (access.agent ?? tlsAgent)(fresh)
      agent?.destroy()
      agent = made
    }
    credentials = fresh
    return fresh
  }
  /** A credential plugin may take longer than a request may; the next request finds what it has given. */
  const readInTime = async () => {
    const { promise, reject } = Promise.withResolvers<never>()
    const cancel = clock.after(timeoutMs, () => reject(new Error(`no credentials within ${timeoutMs} ms`)))
    try {
      return await Promise.race([access.read(isRefused), promise])
    } finally {
      cancel()
    }
  }
  const tlsAgent = async ({ ca, cert, key }: KubeCredentials): Promise<Agent> => {
    const { serverName, isInsecure } = access
    return new TlsAgent({
      keepAlive: true,
      maxSockets: 16,
      ...{ ca, cert, key },
      ...(serverName ? { servername: serverName } : {}),
      ...(isInsecure ? { rejectUnauthorized: false } : {}),
    })
  }
  const isOld = () => clock.now() - readAt >= (access.rereadMs ?? REREAD_MS)
  const prepare = async (accept = ANY) => {
    const current = credentials === undefined || isOld() ? await reread() : credentials
    const headers: Record<string, string> = { accept, 'user-agent': userAgent, ...current.headers }
    if (current.token) headers.authorization = `Bearer ${current.token}`
    return agent ? { agent, headers } : { headers }
  }
  /** After a 401 the credentials are read before the next request. */
  const noticeStatus = (status: number) => {
    if (status !== 401) return
    isRefused = true
    readAt = Number.NEGATIVE_INFINITY
  }
  const address = (path: string, query: Query = {}) => {
    const url = new URL(path, access.server)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    return url
  }
  const exchange = async (method: string, url: URL, body?: unknown, accept?: string) => {
    const { headers, ...rest } = await prepare(accept)
    if (body !== undefined)
      headers['content-type'] = method === 'PATCH' ? patchType(body) : 'application/json'
    const reply = await httpRequest(url, {
      ...rest,
      headers,
      method,
      timeoutMs,
      maxBytes: Number(url.searchParams.get('limit') ?? 1) > 1 ? MAX_PAGE : MAX_OBJECT,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    noticeStatus(reply.status)
    if (reply.status < 200 || reply.status > 299) throw kubeError(reply.status, reply.body)
    return JSON.parse(reply.body) as unknown
  }

  /** As {@link exchange}, a page that is never held as a whole: `each` is told of its objects. */
  const readPage = async (url: URL, accept: string, each: (object: unknown) => void) => {
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      const response = await open(url, { ...(await prepare(accept)), signal })
      const status = response.statusCode ?? 0
      noticeStatus(status)
      if (status !== 200) throw kubeError(status, await start(response))
      const cutter = objectCutter('list')
      const othersTurn = turnTaker()
      for await (const chunk of response) {
        for (const object of cutter.cut(chunk)) each(object)
        await othersTurn(chunk)
      }
      return cutter.envelope()
    } catch (error) {
      throw signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error
    }
  }

  /** The headers of a watch's answer come at once; a server that accepts and says nothing is given up. */
  const answered = async (url: URL, options: object, signal: AbortSignal) => {
    const silent = new AbortController()
    const cancel = clock.after(timeoutMs, () => silent.abort())
    try {
      return await open(url, { ...options, signal: AbortSignal.any([signal, silent.signal]) })
    } catch (error) {
      throw silent.signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error
    } finally {
      cancel()
    }
  }

  async function* stream(path: string, query: Query, signal: AbortSignal, reading: Reading = {}) {
    const options = await prepare(reading.metadataOnly ? `${METADATA.watch}, ${ANY}` : ANY)
    const response = await answered(address(path, query), options, signal)
    const status = response.statusCode ?? 0
    noticeStatus(status)
    if (status !== 200) throw kubeError(status, await start(response))
    // A peer that vanished without a word is noticed after about 25 s (15 s idle, ten probes a second apart).
    response.socket.setKeepAlive(true, 15_000)
    if (!piecemeal) return yield* jsonLines(response)
    const cutter = objectCutter('stream')
    const othersTurn = turnTaker()
    for await (const chunk of response) {
      for (const object of cutter.cut(chunk)) yield object
      await othersTurn(chunk)
    }
  }

  return {
    get(path, query, { metadataOnly, each, whole = false } = {}) {
      const accept = metadataOnly ? `${METADATA.list}, ${ANY}` : ANY
      if ((piecemeal || whole) && each !== undefined) return readPage(address(path, query), accept, each)
      return exchange('GET', address(path, query), undefined, accept)
    },
    send: (method, path, body) => exchange(method, address(path), body),
    stream,
    close: () => agent?.destroy(),
  }
}

/**
 * Lets the event loop turn after every so many bytes: Node reads a socket that always has more up to 32 times before it looks
 * at another one, which is some 20 ms of parsing.
 */
function turnTaker(): (chunk: Buffer) => Promise<void> | undefined {
  let size = 0
  return (chunk) => {
    size += chunk.length
    if (size < BYTES_A_TURN) return undefined
    size = 0
    return setImmediate()
  }
}

function patchType(body: unknown): string {
  return Array.isArray(body) ? 'application/json-patch+json' : 'application/merge-patch+json'
}

function sameTls(a: KubeCredentials | undefined, b: KubeCredentials): boolean {
  return a?.ca === b.ca && a?.cert === b.cert && a?.key === b.key
}

/** The start of a refusal's body. */
async function start(response: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of response) {
    body += chunk
    if (body.length > 4096) break
  }
  return body
}

function kubeError(status: number, body: string): KubeError {
  let message = ''
  try {
    message = String(JSON.parse(body).message ?? '')
  } catch {
    message = body.slice(0, 200)
  }
  return new KubeError(status, `the API server answered ${status}${message ? `: ${message}` : ''}`)
}
