/**
 * The routes of the metadata service. A request passes `target.ts` (its path), `host.ts` (403) and the session
 * token (401), then one of the routes below. Every answer comes from memory.
 */

import type { Context } from 'hono'
import { Hono } from 'hono/tiny'
import { CONTAINER_CREDENTIALS_PATH } from '../../common/addresses.ts'
import { BoundedMap } from '../../common/bounded-map.ts'
import type { SteadyClock } from '../../common/clock.ts'
import { answerContainer } from '../container/answer.ts'
import type { View } from '../credentials/store.ts'
import type { Refusal } from '../health/refusals.ts'
import { hostAllowed } from './host.ts'
import { answerIam, type KnownRole } from './iam.ts'
import { emptyReply, failure, type Reply, refuse, success } from './respond.ts'
import { isBelow, parseTarget, type Target, type TargetResult } from './target.ts'
import { judgeSession, parseTtl, SessionTokens } from './tokens.ts'
import { listing, type MetadataTree } from './tree.ts'
import { VERSION_LISTING } from './versions.ts'

/** What is known about a request once it is answered; less if it did not reach the app. */
export type Exchange = {
  readonly method?: string | undefined
  /** The path as understood; undefined where it was none. */
  readonly path: string | undefined
  /** Undefined where the connection ended without an answer. */
  readonly status: number | undefined
  readonly durationMs?: number | undefined
  /** Whether it came with a session token (`v2`) or without (`v1`). */
  readonly imds?: 'v1' | 'v2' | undefined
  /** Why it was refused for its form. */
  readonly refusal?: Refusal | undefined
  /** The HTTP parser's own words: one of its few dozens of fixed sentences. */
  readonly parser?: string | undefined
}

type AppDeps = {
  /** Key of the session tokens, 32 bytes. */
  readonly tokenKey: Uint8Array
  readonly imdsTokens: 'optional' | 'required'
  /** What credentials there are now. */
  readonly view: () => View
  readonly role: () => KnownRole
  readonly tree: () => MetadataTree
  /** Whether a secret is one of the container credentials'; undefined where the pod has none of these. */
  readonly isContainerSecret?: ((secret: string) => boolean) | undefined
  /** Answer to a self-test path, or undefined when the path is none. */
  readonly selfTest: (path: string) => string | undefined
  /** Whether a URL is requested by this process itself, so that it is no exchange with the application. */
  readonly isOwn?: (url: string) => boolean
  readonly onExchange: (exchange: Exchange) => void
  readonly onError: (error: unknown) => void
  readonly clock: SteadyClock
}

type Route = (c: Context, target: Target) => Reply

const TARGET_REFUSALS = {
  400: 'target-malformed',
  404: 'target-undecodable',
  414: 'target-too-long',
} as const satisfies Record<number, Refusal>

const TOKEN_PATH = '/latest/api/token'
const TOKEN_METHODS = 'OPTIONS, PUT'
const METADATA_METHODS = 'GET, HEAD'
/** Below `/latest`. */
const IAM_PATH = '/meta-data/iam'
const TTL_HEADER = 'X-Aws-Ec2-Metadata-Token-Ttl-Seconds'
const TOKEN_HEADER = 'x-aws-ec2-metadata-token'

/** The metadata service as a hono app. Each request meets one handler, which never waits. */
export function metadataApp(deps: AppDeps): Hono {
  const { view, role, tree, clock, isContainerSecret } = deps
  const tokens = new SessionTokens(deps.tokenKey)
  const targetOf = rememberedTargets()
  const app = new Hono({
    getPath: ({ url }) => {
      const result = targetOf(url)
      return result.ok ? result.target.path : '/'
    },
  })

  const handler = withChecks(deps, tokens, targetOf)

  app.all(
    TOKEN_PATH,
    handler((c, target) => {
      if (c.req.method === 'PUT') return putToken(c, target, tokens, clock.now())
      if (c.req.method === 'OPTIONS') return emptyReply(200, { allow: TOKEN_METHODS })
      return emptyReply(405, { allow: TOKEN_METHODS, refusal: 'method' })
    }),
  )
  if (isContainerSecret !== undefined)
    app.all(
      CONTAINER_CREDENTIALS_PATH,
      handler(({ req }) => {
        if (!reads(req.method)) return emptyReply(405, { allow: METADATA_METHODS, refusal: 'method' })
        const { authority } = targetOf(req.url)
        return answerContainer({ authority, headers: req.raw.headers }, view(), isContainerSecret)
      }),
    )
  app.get(
    '/',
    handler(() => success(VERSION_LISTING)),
  )
  app.get(
    '/latest/*',
    handler((_, { path, slash }) => {
      const below = path.slice('/latest'.length)
      if (isBelow(below, IAM_PATH)) {
        const answer = answerIam(below.slice(IAM_PATH.length + 1), view(), role())
        return answer.status === 200 ? success(answer.body, answer.modified) : failure(answer.status)
      }
      const leaf = tree().leaf(below)
      const names = directory(below, tree(), view().kind !== 'none')
      if (names !== undefined && (slash || leaf === undefined)) return success(listing(names))
      return leaf === undefined ? failure(404) : success(leaf)
    }),
  )
  app.notFound(
    handler((c) =>
      reads(c.req.method) ? failure(404) : emptyReply(405, { allow: METADATA_METHODS, refusal: 'method' }),
    ),
  )
  return app
}

/** Returns a function that turns a route into a handler for hono, which checks the request before the route and reports it afterwards. */
function withChecks(
  deps: AppDeps,
  tokens: SessionTokens,
  targetOf: (url: string) => TargetResult,
): (route: Route) => (c: Context) => Response {
  const { imdsTokens, clock, isContainerSecret } = deps
  const isContainer = ({ path }: Target) =>
    path === CONTAINER_CREDENTIALS_PATH && isContainerSecret !== undefined
  /** Whether a route is not protected by session tokens. */
  const hasOwnToken = (target: Target) => target.path === TOKEN_PATH || isContainer(target)

  /** A refusal or an answer before any route; else for how many seconds the token is still valid, if there is one. */
  const judge = (c: Context, result: TargetResult): Reply | { readonly lifetime: number | undefined } => {
    if (!hostAllowed(result.authority)) return refuse('host-foreign', 403)
    if (result.ok) {
      const answer = deps.selfTest(result.target.path)
      if (answer !== undefined) return success(answer)
    }
    if (!reads(c.req.method) || (result.ok && hasOwnToken(result.target))) return { lifetime: undefined }
    const session = judgeSession(c.req.header(TOKEN_HEADER), { tokens, imdsTokens, now: clock.now() })
    // 401 and never 403: it is what makes SDKs that fell back to IMDSv1 try a token again.
    return session.ok ? session : refuse(session.refusal, 401)
  }

  const reply = (c: Context, result: TargetResult, route: Route): Reply => {
    const judged = judge(c, result)
    if ('status' in judged) return judged
    const answer = result.ok ? route(c, result.target) : refuse(TARGET_REFUSALS[result.status], result.status)
    if (judged.lifetime === undefined) return answer
    return { ...answer, headers: [...answer.headers, [TTL_HEADER, String(judged.lifetime)]] }
  }

  const imdsOf = (c: Context, result: TargetResult) => {
    if (result.ok && isContainer(result.target)) return undefined
    return c.req.header(TOKEN_HEADER) === undefined ? 'v1' : 'v2'
  }

  return (route) => (c) => {
    const start = clock.monotonic()
    const result = targetOf(c.req.url)
    let answer: Reply
    try {
      answer = reply(c, result, route)
    } catch (error) {
      deps.onError(error)
      answer = failure(500)
    }
    if (deps.isOwn?.(c.req.url) !== true)
      deps.onExchange({
        method: c.req.method,
        path: result.ok ? result.target.path : undefined,
        status: answer.status,
        durationMs: clock.monotonic() - start,
        imds: imdsOf(c, result),
        refusal: answer.refusal,
      })
    return new Response(answer.body, { status: answer.status, headers: answer.headers as [string, string][] })
  }
}

/** A new session token, or EC2's refusal. */
function putToken(c: Context, { slash, version }: Target, tokens: SessionTokens, now: number): Reply {
  // EC2 refuses a trailing slash, a dated version, and requests that came through a proxy, all without a body.
  if (slash || version !== 'latest') return emptyReply(403, { refusal: 'token-path' })
  if (c.req.header('x-forwarded-for') !== undefined) return emptyReply(403, { refusal: 'forwarded' })
  const ttl = parseTtl(c.req.header('x-aws-ec2-metadata-token-ttl-seconds'))
  if (ttl === undefined) return refuse('token-lifetime', 400)
  const answer = success(tokens.issue(ttl, now))
  // Without the echoed lifetime Rust fails and Go falls back to IMDSv1.
  return { ...answer, headers: [...answer.headers, [TTL_HEADER, String(ttl)]] }
}

/** HEAD is GET without the body. */
function reads(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** The names in a directory; undefined if there is none. `iam/` is added unless the pod has no role. */
function directory(below: string, tree: MetadataTree, iam: boolean): readonly string[] | undefined {
  const names = tree.children(below)
  if (below === '') return [...new Set([...(names ?? []), 'meta-data/'])].sort().map(withoutSlash)
  if (below !== '/meta-data' || !iam) return names ?? (below === '/meta-data' ? [] : undefined)
  return [...new Set([...(names ?? []), 'iam/'])].sort()
}

/** EC2 lists `dynamic` and `meta-data` without their slash. */
function withoutSlash(name: string): string {
  return name.replace(/\/$/, '')
}

/** Longest URL that is remembered: longer ones would waste memory. */
const MAX_REMEMBERED = 300

/** Parses URLs. The latest results are kept, since each request needs its own twice and SDKs request the same few ones. */
function rememberedTargets(): (url: string) => TargetResult {
  const latest = new BoundedMap<string, TargetResult>(8)
  return (url) => {
    const known = latest.get(url)
    if (known !== undefined) return known
    const result = parseTarget(url)
    if (url.length <= MAX_REMEMBERED) latest.set(url, result)
    return result
  }
}
