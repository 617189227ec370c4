import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { type SteadyClock, systemClock } from '../../common/clock.ts'
import { limitPipelining } from '../../common/connections.ts'
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'
import type { Webhook } from '../admission/webhook.ts'
import type { ServingCertificate } from '../certificates/files.ts'
import { bodyBudget } from './body-budget.ts'
import { boundConnections } from './fair-connections.ts'
import { boundRequestTime, openConnections } from './open-connections.ts'
import { pacing } from './pacing.ts'
import { allocateSharedBuffer, readBody } from './review-body.ts'
import { drained } from './shutdown.ts'

export type WebhookServer = Awaited<ReturnType<typeof webhookServer>>

/** An object may have 3 MiB; the review of an update contains it twice. */
const MAX_BODY = 8 * 1024 * 1024
/** Limits on what anyone who reaches the port can make the server keep before there is a review to judge. */
export type ServerLimits = {
  /** Bytes of all bodies that are being read or judged: two of the largest, or 800 pods of 20 kB. */
  readonly bodyBytes: number
  /** Three API servers send at most 600 changes at the same time, each on its own connection. */
  readonly connections: number
  /** How long a part of a body waits for space; two seconds by default. */
  readonly roomMs?: number
  /** Time for a whole request to arrive, from its first byte; the API server gives up after five seconds. */
  readonly requestMs: number
}

const LIMITS: ServerLimits = { bodyBytes: 16 * 1024 * 1024, connections: 1024, requestMs: 10_000 }
/**
 * The API server keeps idle connections to webhooks for 90 s. With Node's default of five seconds we would close connections that
 * the API server considers alive, and under `failurePolicy: Fail` the resulting EOF means a refused pod. The same applies to
 * connections that have not been used yet (open-connections.ts).
 */
const KEEP_ALIVE_MS = 120_000
/** An API server sends a request after the answer to the previous one; the second is for an answer that is just being sent. */
const MAX_PIPELINED = 2

const SILENT = { debug() {} }

/** The webhook behind each path. */
type Webhooks = { readonly mutate: Webhook; readonly validate: Webhook; readonly warn?: Webhook }

/** The webhooks' routes, without a socket: `app.request('/mutate', …)` in tests. */
export function webhookApp(
  webhooks: Webhooks,
  isDraining: () => boolean = () => false,
  limits: Pick<ServerLimits, 'bodyBytes' | 'roomMs'> = LIMITS,
  log: Pick<Logger, 'debug'> = SILENT,
): Hono {
  const app = new Hono()
  // Webhooks never reject, so this is a client that went away; hono would print a stack trace for each.
  app.onError(function answerBroken(error, context) {
    log.debug('a request did not arrive whole', { error: messageOf(error) })
    return context.text('pod2iam: the request did not arrive whole\n', 500)
  })
  app.use(async function endConnections(context, next) {
    await next()
    if (isDraining()) context.header('Connection', 'close')
  })
  const turns = pacing()
  allocateSharedBuffer(MAX_BODY)
  const budget = bodyBudget(limits.bodyBytes, limits.roomMs)
  for (const [name, webhook] of Object.entries(webhooks)) {
    app.post(`/${name}`, async function answerReview(context) {
      const [address, announced] = [addressOf(context), Number(context.req.header('Content-Length') ?? 0)]
      const body = await readBody(streamOf(context), announced, MAX_BODY, budget, address, turns)
      if (!body.ok) {
        // Do not wait for the rest of the body.
        context.header('Connection', 'close')
        return body.problem === 'no-budget'
          ? context.text('pod2iam: too many reviews are under way at the same time, try again\n', 503)
          : context.text('pod2iam: the review is larger than 8 MiB\n', 413)
      }
      try {
        const answer = await webhook(body.body, address)
        return answer.status === 200 ? context.json(answer.body) : context.text(answer.text, answer.status)
      } finally {
        body.release()
      }
    })
    app.all(`/${name}`, (context) =>
      context.text('pod2iam: POST an AdmissionReview here\n', 405, { Allow: 'POST' }),
    )
  }
  app.notFound((context) => context.text('pod2iam: the webhooks are at /mutate, /validate and /warn\n', 404))
  return app
}

/** Node's own stream; without a socket, in tests, the request's. */
function streamOf(context: Context): Readable {
  const bindings: Partial<HttpBindings> | undefined = context.env
  const { body } = bindings?.incoming === undefined ? context.req.raw : { body: null }
  return bindings?.incoming ?? (body === null ? Readable.from([]) : Readable.fromWeb(body as ReadableStream))
}

/** The peer's address; empty without a socket. */
function addressOf(context: Context): string {
  const bindings: Partial<HttpBindings> | undefined = context.env
  return bindings?.incoming?.socket.remoteAddress ?? ''
}

type ListenOptions = {
  readonly port: number
  readonly hostname?: string
  readonly log?: Logger
  readonly clock?: SteadyClock
}

/** Serves the webhooks over TLS 1.2 or newer, with HTTP/1.1, which API servers use for webhooks. */
export async function webhookServer(
  webhooks: Webhooks,
  certificate: ServingCertificate,
  { log, clock = systemClock, ...listen }: ListenOptions,
  limits: ServerLimits = LIMITS,
) {
  const ending = new AbortController()
  let draining = false
  const app = webhookApp(webhooks, () => draining, limits, log)
  const tls = ({ cert, key }: ServingCertificate) => ({ cert, key, minVersion: 'TLSv1.2' as const })
  const server = createServer(
    {
      ...tls(certificate),
      keepAliveTimeout: KEEP_ALIVE_MS,
      handshakeTimeout: limits.requestMs,
      headersTimeout: KEEP_ALIVE_MS,
      requestTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: 16_384,
    },
    limitPipelining(MAX_PIPELINED, getRequestListener(app.fetch)),
  )
  boundConnections(server, limits.connections)
  const connections = openConnections(server, clock)
  const port = await new Promise<number>((resolve, reject) => {
    server.once('error', reject)
    server.listen(listen, () => resolve((server.address() as AddressInfo).port))
  })
  void boundRequestTime(connections, limits.requestMs, clock, ending.signal)
  return {
    /** The port on which it listens. */
    port,
    /** Sets the certificate of new handshakes; open connections continue with theirs. */
    setCertificate: (next: ServingCertificate) => server.setSecureContext(tls(next)),
    /**
     * Goes on answering, with the last answer of each connection, and listens until every connection has ended (shutdown.ts).
     *
     * @param acceptMs time for the endpoint to leave the Service everywhere; 0 by default: it has left
     */
    async drain(acceptMs = 0) {
      draining = true
      await drained(connections, acceptMs, clock)
      ending.abort()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
