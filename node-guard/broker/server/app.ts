/** The broker's routes, and what all answers have in common. */
import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { type SteadyClock, systemClock } from '../../../common/clock.ts'
import { messageOf } from '../../../common/errors.ts'
import type { Logger } from '../../../common/log.ts'
import {
  CREDENTIALS_PATH,
  type CredentialsBody,
  METADATA_PATH,
  type MetadataBody,
  POD_PATH,
  type PodBody,
  PROTOCOL,
  Problem,
  WEB_IDENTITY_HEADER,
} from '../../../common/protocol.ts'
import { VERSION } from '../../../common/version.ts'
import type { Caller } from '../authenticate/authenticate.ts'

export type BrokerHandlers = {
  /** @throws {Problem} */
  readonly credentials: (caller: Caller) => Promise<CredentialsBody>
  /** @throws {Problem} */
  readonly metadata: (caller: Caller) => Promise<MetadataBody>
  /** @throws {Problem} */
  readonly pod: (caller: Caller) => Promise<PodBody>
  /** Called for a request of another version of the protocol. */
  readonly rejected?: (caller: Caller, problem: Problem) => void
}

export type BrokerApp = Hono<{ Bindings: HttpBindings }>

type Route = 'credentials' | 'metadata' | 'pod'

/** Called after every answer with `ok`, or with the code of the refusal. */
export type OnAnswer = (path: Route, code: string, seconds: number) => void

/** @param metadataSeconds how long metadata is valid; undefined for the sidecar's default */
export function brokerApp(
  handlers: BrokerHandlers,
  log: Logger,
  onAnswer: OnAnswer,
  metadataSeconds?: number,
  clock: Pick<SteadyClock, 'monotonic'> = systemClock,
): BrokerApp {
  const cacheControl = {
    credentials: 'no-store',
    pod: 'no-store',
    metadata: metadataSeconds === undefined ? 'no-store' : `private, max-age=${metadataSeconds}`,
  }
  const app: BrokerApp = new Hono()
  const serve = (path: Route) => async (context: Context<{ Bindings: HttpBindings }>) => {
    const started = clock.monotonic()
    const done = (code: string) => onAnswer(path, code, (clock.monotonic() - started) / 1000)
    try {
      const body = await handlers[path](callerOf(context))
      done('ok')
      return context.json(body, 200, { 'Cache-Control': cacheControl[path] })
    } catch (error) {
      const problem = error instanceof Problem ? error : unexpected(error, log)
      done(problem.code)
      return answer(problem)
    }
  }
  app.use(async (context, next) => {
    const { headers } = context.env.incoming
    // The broker's release, for the logs of sidecars of other releases.
    context.env.outgoing.setHeader('Server', `pod2iam-broker/${VERSION}`)
    // No route expects a body; one that is sent anyway is not read.
    if ((headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined)
      return plain(413, 'Content Too Large')
    return next()
  })
  app.get(CREDENTIALS_PATH, serve('credentials'))
  app.get(METADATA_PATH, serve('metadata'))
  app.get(POD_PATH, serve('pod'))
  for (const path of [CREDENTIALS_PATH, METADATA_PATH, POD_PATH])
    app.all(path, () => plain(405, 'Method Not Allowed'))
  app.notFound((context) => {
    const asked = /^\/v(\d{1,4})\//.exec(context.req.path)?.[1]
    if (asked === undefined || Number(asked) === PROTOCOL) return plain(404, 'Not Found')
    const problem = notSpoken(Number(asked))
    handlers.rejected?.(callerOf(context), problem)
    return answer(problem)
  })
  app.onError((error) => answer(unexpected(error, log)))
  return app
}

function callerOf({ env: { incoming } }: Context<{ Bindings: HttpBindings }>): Caller {
  const webIdentity = incoming.headers[WEB_IDENTITY_HEADER.toLowerCase()]
  return {
    authorization: incoming.headers.authorization,
    peer: incoming.socket.remoteAddress,
    // Sent twice it is joined by a comma, which no token has.
    webIdentity: typeof webIdentity === 'string' ? webIdentity : undefined,
  }
}

function notSpoken(asked: number): Problem {
  const remedy =
    asked > PROTOCOL
      ? 'bring the node guard to the release of the sidecar'
      : 'create the pod again, so that it gets a sidecar of this release'
  return new Problem(
    'protocol-not-spoken',
    `the broker of this node is of release ${VERSION} and speaks v${PROTOCOL}, but was asked in v${asked}: ${remedy}`,
    { retryAfter: 10 },
  )
}

function answer(problem: Problem): Response {
  const headers: Record<string, string> = {
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
  }
  if (problem.retryAfter !== undefined) headers['Retry-After'] = String(problem.retryAfter)
  if (problem.status === 401) headers['WWW-Authenticate'] = 'Bearer'
  return new Response(JSON.stringify(problem.toBody()), { status: problem.status, headers })
}

/** An answer outside the protocol: no sidecar of ours sees it. */
function plain(status: number, title: string): Response {
  return new Response(JSON.stringify({ type: 'about:blank', title, status }), {
    status,
    headers: {
      'Content-Type': 'application/problem+json',
      ...(status === 413 ? { Connection: 'close' } : {}),
    },
  })
}

/** An internal error fails closed, and is temporary or visible in the log. */
function unexpected(error: unknown, log: Logger): Problem {
  log.error('unexpected error', { error: messageOf(error) })
  return new Problem('busy', 'the broker could not answer because of an internal error; its log says more', {
    retryAfter: 5,
  })
}
