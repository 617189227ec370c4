/**
 * The adapter from node:http to `fetch(request)`, used here instead of @hono/node-server, because that one
 * loads undici, http2 and tls (+4.2 to +5.4 MiB in every pod). `test/sidecar/listener.test.ts` holds it to the
 * official adapter's behaviour on the same routes.
 *
 * What it does: bodies up to a limit (413 beyond, and the connection ends), HEAD, clients that go away, errors of
 * the app (500, never a crash), absolute request targets, requests without Host.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Refusal } from '../health/refusals.ts'
import { SERVER } from '../imds/pages.ts'
import { announcesTooMuch, BodyTooLarge, bodyReader, hasBody } from './body.ts'
import { Headers, Request } from './web.ts'

/** What the adapter needs of a response: hono's, whichever class made it. */
type ResponseLike = {
  readonly status: number
  readonly headers: Iterable<[string, string]>
  readonly body: unknown
  arrayBuffer(): Promise<ArrayBuffer>
}

export type FetchHandler = (request: Request) => ResponseLike | Promise<ResponseLike>

type ListenerOptions = {
  /** Longest request body, bytes. */
  readonly bodyLimit: number
  /** Most header lines. */
  readonly headerLines: number
  /** Called with what the app threw; the client gets a 500. */
  readonly onError: (error: unknown) => void
  /** Called for each request that is answered without the app. */
  readonly onRefused?: (refusal: Refusal, status: number, method: string | undefined) => void
}

/** A `request` listener for a `node:http` server that answers with `handler`. */
export function requestListener(handler: FetchHandler, options: ListenerOptions) {
  return function listen(incoming: IncomingMessage, outgoing: ServerResponse): void {
    void answer(handler, options, incoming, outgoing)
  }
}

async function answer(
  handler: FetchHandler,
  { bodyLimit, headerLines, onError, onRefused }: ListenerOptions,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const refuse = (refusal: Refusal, status: number) => {
    onRefused?.(refusal, status, incoming.method)
    end(outgoing, status)
  }
  try {
    // An HTTP/0.9 client would take our headers for the body.
    if (incoming.httpVersion === '0.9') return refuse('malformed', 400)
    if (incoming.rawHeaders.length > 2 * headerLines) return refuse('headers-too-large', 431)
    if (announcesTooMuch(incoming, bodyLimit)) return refuse('body-too-large', 413)
    const headers = headersOf(incoming)
    if (MALFORMED_HOST.test(headers.get('host') ?? '')) return refuse('host-malformed', 400)
    const request = toRequest(incoming, outgoing, headers, bodyLimit, refuse)
    // The app is called only after the bytes that came with the head were counted: the body may be too long already.
    if (hasBody(incoming)) await new Promise((done) => setImmediate(done))
    if (outgoing.writableEnded) return
    await send(await handler(request), incoming, outgoing)
  } catch (error) {
    if (outgoing.destroyed || outgoing.writableEnded) return
    if (error instanceof BodyTooLarge) return refuse('body-too-large', 413)
    onError(error)
    if (outgoing.headersSent) outgoing.destroy()
    else refuse('internal-error', 500)
  }
}

/** What would end the authority of a URL, or begin it anew. Several Hosts are joined by a comma and a space. */
const MALFORMED_HOST = /[/?#@\\]|(?<!,)\s/

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers()
  for (let index = 0; index + 1 < rawHeaders.length; index += 2)
    headers.append(rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '')
  return headers
}

/** The request as the app sees it. Absolute targets (RFC 9112 section 3.2.2) keep their own authority. */
function toRequest(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  headers: Headers,
  bodyLimit: number,
  refuse: (refusal: Refusal, status: number) => void,
): Request {
  const { method = 'GET', url = '/' } = incoming
  const absolute = /^https?:\/\//i.test(url)
  // A target without a slash at its start, such as `*`, must not become part of the name before it.
  const path = url.startsWith('/') ? url : `/${url}`
  // A missing or empty Host is allowed; any other must be one of ours (imds/host.ts).
  const tooLong = () => {
    if (outgoing.writableEnded) incoming.socket.destroy()
    else refuse('body-too-large', 413)
  }
  return new Request(absolute ? url : `http://${headers.get('host') || 'localhost'}${path}`, {
    method,
    headers,
    makeSignal: () => abortSignal(outgoing),
    ...(hasBody(incoming) ? { readBody: bodyReader(incoming, bodyLimit, tooLong) } : {}),
  })
}

function abortSignal(outgoing: ServerResponse): AbortSignal {
  const controller = new AbortController()
  const gone = () => {
    if (!outgoing.writableFinished) controller.abort(new Error('the client closed the connection'))
  }
  if (outgoing.destroyed) gone()
  else outgoing.once('close', gone)
  return controller.signal
}

async function send(response: ResponseLike, incoming: IncomingMessage, outgoing: ServerResponse) {
  const { body: made } = response
  // Text stays text: as bytes it would come out of Node's buffer pool, whose slabs live until a full collection (0.5 KiB a
  // request, 10 MiB after 20,000).
  const body = typeof made === 'string' || made === null ? made : Buffer.from(await response.arrayBuffer())
  if (outgoing.destroyed || outgoing.writableEnded) return
  const bodiless = response.status === 204 || response.status === 304
  const head = incoming.method === 'HEAD'
  // As one list, which costs less CPU time than header by header.
  const headers: string[] = []
  let hasLength = bodiless || (head && body === null)
  for (const [name, value] of response.headers) {
    headers.push(name, value)
    hasLength ||= name === 'content-length'
  }
  if (!hasLength) headers.push('content-length', String(body === null ? 0 : Buffer.byteLength(body)))
  outgoing.writeHead(response.status, headers).end(bodiless || head ? undefined : body)
}

/** Answers with only a status and closes the connection: nothing else on it can be trusted. */
function end(outgoing: ServerResponse, status: number): void {
  outgoing.writeHead(status, ['Server', SERVER, 'Content-Length', '0', 'Connection', 'close']).end()
}
