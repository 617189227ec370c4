/**
 * A thin client of the API server over node:https, for broker and injector.
 *
 * `@kubernetes/client-node` (2.0.1) gives the types, and its `KubeConfig` the credentials (`kubeconfig.ts`). Its generated
 * client reads every answer whole, into classes, and opens a TLS connection for every request (decision 0050).
 */
import type { IncomingMessage } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { httpRequest, open } from '../http-request.ts'
import type { KubeAccess } from './access.ts'
import { Connection } from './connection.ts'
import { jsonLines, MAX_OBJECT } from './json-lines.ts'
import { objectSplitter } from './object-splitter.ts'

export type Query = Readonly<Record<string, string>>

/** Options for reading a list or a watch. */
export type ReadOptions = {
  /** Requests only the objects' metadata (`PartialObjectMetadata`); a server that does not support this sends whole objects. */
  readonly metadataOnly?: boolean
  /**
   * Called with each object of a list as it arrives, or with {@link oversize}; the answer's own items are then empty. A client
   * that is not {@link KubeOptions.piecemeal} ignores it without `whole`, and returns the items.
   */
  readonly each?: (object: unknown) => void
  /** The list is not paged, however long it is: with {@link each}, every client reads it object by object. */
  readonly whole?: boolean
}

export type Kube = {
  /** A JSON document. @throws {KubeError} for any status but 2xx @throws {TooLargeError} */
  readonly get: (path: string, query?: Query, reading?: ReadOptions) => Promise<unknown>
  /** Creates, replaces or patches an object: by a JSON Patch where the body is an array, else by a merge patch. @throws {KubeError} */
  readonly send: (method: 'POST' | 'PUT' | 'PATCH', path: string, body: unknown) => Promise<unknown>
  /** The objects of a stream of JSON lines, until it ends; `oversize` for one too large to be read. @throws {KubeError} */
  readonly stream: (
    path: string,
    query: Query,
    signal: AbortSignal,
    reading?: ReadOptions,
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
  /** For one whole exchange, milliseconds; for a watch, until the headers of its answer. */
  readonly timeoutMs?: number
  /**
   * Reads lists object by object as they arrive, and lists and watches without `managedFields`: no page is ever held. It
   * looks at every byte, which without Node's optimizing compilers costs more than it saves.
   */
  readonly piecemeal?: boolean
}

/** As client-go does. The key set of tokens is `application/jwk-set+json`: if only JSON is accepted, the API server answers 406. */
const ANY = 'application/json, */*'
/** A list needs another kind than a watch: otherwise the API server answers 406. */
const METADATA = {
  list: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
  watch: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
}

/** Bytes of a page of a list; a larger one is requested again in smaller pages. */
const MAX_PAGE = 8 * 1024 * 1024
/** Read at once, in bytes: about a millisecond's work. */
const BYTES_A_TURN = 64 * 1024

/** Creates a client for `access`. */
export function kubeClient(access: KubeAccess, clock: Clock, options: KubeOptions = {}): Kube {
  const client = new Client(access, clock, options)
  return {
    get: (path, query, reading) => client.get(path, query, reading),
    send: (method, path, body) => client.exchange(method, client.address(path), body),
    stream: (path, query, signal, reading) => client.stream(path, query, signal, reading),
    close: () => client.connection.close(),
  }
}

class Client {
  readonly connection: Connection
  readonly #server: URL
  readonly #clock: Clock
  readonly #options: Required<KubeOptions>

  constructor(access: KubeAccess, clock: Clock, options: KubeOptions) {
    this.#options = { userAgent: 'pod2iam', timeoutMs: 10_000, piecemeal: false, ...options }
    this.connection = new Connection(access, clock, this.#options.timeoutMs)
    this.#server = access.server
    this.#clock = clock
  }

  address(path: string, query: Query = {}): URL {
    const url = new URL(path, this.#server)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    return url
  }

  get(
    path: string,
    query?: Query,
    { metadataOnly, each, whole = false }: ReadOptions = {},
  ): Promise<unknown> {
    const accept = metadataOnly ? `${METADATA.list}, ${ANY}` : ANY
    const url = this.address(path, query)
    if ((this.#options.piecemeal || whole) && each !== undefined) return this.#readPage(url, accept, each)
    return this.exchange('GET', url, undefined, accept)
  }

  async exchange(method: string, url: URL, body?: unknown, accept?: string): Promise<unknown> {
    const { headers, ...rest } = await this.#requestOptions(accept)
    if (body !== undefined)
      headers['content-type'] = method === 'PATCH' ? patchType(body) : 'application/json'
    const reply = await httpRequest(url, {
      ...rest,
      headers,
      method,
      timeoutMs: this.#options.timeoutMs,
      maxBytes: Number(url.searchParams.get('limit') ?? 1) > 1 ? MAX_PAGE : MAX_OBJECT,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    this.connection.noticeStatus(reply.status)
    if (reply.status < 200 || reply.status > 299) throw kubeError(reply.status, reply.body)
    return JSON.parse(reply.body) as unknown
  }

  /** As {@link exchange}, for a page that is never in memory as a whole: `each` gets its objects. */
  async #readPage(url: URL, accept: string, each: (object: unknown) => void): Promise<unknown> {
    const { timeoutMs } = this.#options
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      const response = await open(url, { ...(await this.#requestOptions(accept)), signal })
      await this.#refuse(response)
      const cutter = objectSplitter('list')
      for await (const object of objectsOf(response, cutter)) each(object)
      return cutter.envelope()
    } catch (error) {
      throw signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error
    }
  }

  async *stream(path: string, query: Query, signal: AbortSignal, { metadataOnly }: ReadOptions = {}) {
    const options = await this.#requestOptions(metadataOnly ? `${METADATA.watch}, ${ANY}` : ANY)
    const response = await this.#answered(this.address(path, query), options, signal)
    await this.#refuse(response)
    // A peer that disappeared silently is detected after about 25 s (15 s idle, ten probes a second apart).
    response.socket.setKeepAlive(true, 15_000)
    yield* this.#options.piecemeal ? objectsOf(response, objectSplitter('stream')) : jsonLines(response)
  }

  /** Opens a watch. The headers of its answer arrive at once; a server that accepts the connection and sends nothing is given up. */
  async #answered(url: URL, options: object, signal: AbortSignal): Promise<IncomingMessage> {
    const { timeoutMs } = this.#options
    const silent = new AbortController()
    const cancel = this.#clock.after(timeoutMs, () => silent.abort())
    try {
      return await open(url, { ...options, signal: AbortSignal.any([signal, silent.signal]) })
    } catch (error) {
      throw silent.signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error
    } finally {
      cancel()
    }
  }

  #requestOptions(accept = ANY) {
    return this.connection.options({ accept, 'user-agent': this.#options.userAgent })
  }

  /** @throws {KubeError} for any status but 200 */
  async #refuse(response: IncomingMessage): Promise<void> {
    const status = response.statusCode ?? 0
    this.connection.noticeStatus(status)
    if (status !== 200) throw kubeError(status, await start(response))
  }
}

/**
 * The objects that end in each chunk. Lets the event loop turn after every so many bytes: Node reads a socket that always has
 * more up to 32 times before it looks at another one, which is some 20 ms of parsing.
 */
async function* objectsOf(response: IncomingMessage, cutter: ReturnType<typeof objectSplitter>) {
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    yield* cutter.split(chunk)
    size += chunk.length
    if (size < BYTES_A_TURN) continue
    size = 0
    await setImmediate()
  }
}

function patchType(body: unknown): string {
  return Array.isArray(body) ? 'application/json-patch+json' : 'application/merge-patch+json'
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
