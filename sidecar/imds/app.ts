/**
 * The routes of the metadata service. The way of a request: `target.ts` (which path), `host.ts` (403), the session
 * token (401), then one of the routes below. Every answer comes from memory.
 */
import { Hono } from 'hono/tiny'
import type { Clock } from '../clock.ts'
import type { View } from '../credentials/store.ts'
import type { Refusal } from '../health/refusals.ts'
import { hostAllowed } from './host.ts'
import { answerIam, type KnownRole } from './iam.ts'
import { bare, failure, refuse, success } from './respond.ts'
import { parseTarget, type Target, type TargetResult } from './target.ts'
import { issueToken, judgeSession, parseTtl } from './tokens.ts'
import { listing, type MetadataTree } from './tree.ts'
import { VERSION_LISTING } from './versions.ts'

/** What is known of a request once it is answered; of one that did not come as far as the app, not all. */
export type Exchange = {
  readonly method?: string | undefined
  /** The path as understood; undefined where it was none. */
  readonly path: string | undefined
  /** Undefined where the connection ended without an answer. */
  readonly status: number | undefined
  readonly durationMs?: number | undefined
  /** Whether it came with a session token (`v2`) or without (`v1`). */
  readonly imds?: 'v1' | 'v2'
  /** Why it was refused for its form. */
  readonly refusal?: Refusal | undefined
  /** The HTTP parser's own words: one of its few dozens of fixed sentences. */
  readonly parser?: string | undefined
}

export type AppOptions = {
  /** Key of the session tokens, 32 bytes. */
  readonly tokenKey: Uint8Array
  readonly imdsTokens: 'optional' | 'required'
  /** What credentials there are now. */
  readonly view: () => View
  readonly role: () => KnownRole
  readonly tree: () => MetadataTree
  /** Answer to a self-test path, or undefined when the path is none. */
  readonly selfTest: (path: string) => string | undefined
  readonly onExchange: (exchange: Exchange) => void
  readonly onError: (error: unknown) => void
  readonly clock: Clock
}

type Env = { Variables: { target: Target; refusal?: Refusal } }

const TARGET_REFUSALS = {
  400: 'target-malformed',
  404: 'target-undecodable',
  414: 'target-too-long',
} as const satisfies Record<number, Refusal>

const TOKEN_PATH = '/latest/api/token'
const TOKEN_METHODS = 'OPTIONS, PUT'
const METADATA_METHODS = 'GET, HEAD'
const IAM_PATH = '/latest/meta-data/iam'
const TTL_HEADER = 'X-Aws-Ec2-Metadata-Token-Ttl-Seconds'
const TOKEN_HEADER = 'x-aws-ec2-metadata-token'

/** The metadata service as a hono app. */
export function metadataApp(options: AppOptions): Hono<Env> {
  const { tokenKey, imdsTokens, view, role, tree, clock } = options
  const targetOf = lastTarget()
  const app = new Hono<Env>({
    getPath: ({ url }) => {
      const result = targetOf(url)
      return result.ok ? result.target.path : '/'
    },
  })

  app.use('*', async (c, next) => {
    const start = clock.monotonic()
    await next()
    // A body that was too long has been answered meanwhile, and counted.
    if ((c.req.raw as { isAnswered?: boolean }).isAnswered) return
    const result = targetOf(c.req.url)
    options.onExchange({
      method: c.req.method,
      path: result.ok ? result.target.path : undefined,
      status: c.res.status,
      durationMs: clock.monotonic() - start,
      imds: c.req.header(TOKEN_HEADER) === undefined ? 'v1' : 'v2',
      refusal: c.get('refusal'),
    })
  })

  app.use('*', async (c, next) => {
    const result = targetOf(c.req.url)
    if (!hostAllowed(result.authority)) return refuse(c, 'host-foreign', 403)
    if (result.ok) {
      const answer = options.selfTest(result.target.path)
      if (answer !== undefined) return success(c, answer)
    }
    if (reads(c.req.method) && !(result.ok && result.target.path === TOKEN_PATH)) {
      const session = judgeSession(c.req.header(TOKEN_HEADER), { tokenKey, imdsTokens, now: clock.wall() })
      // 401 and never 403: it is what makes SDKs that fell back to IMDSv1 try a token again.
      if (!session.ok) return refuse(c, session.refusal, 401)
      if (session.lifetime !== undefined) c.header(TTL_HEADER, String(session.lifetime))
    }
    if (!result.ok) return refuse(c, TARGET_REFUSALS[result.status], result.status)
    c.set('target', result.target)
    return next()
  })

  app.put(TOKEN_PATH, (c) => {
    const { slash, version } = c.get('target')
    // EC2 refuses a trailing slash, a dated version, and whatever came through a proxy, all without a body.
    if (slash || version !== 'latest') return bare(c, 403, { refusal: 'token-path' })
    if (c.req.header('x-forwarded-for') !== undefined) return bare(c, 403, { refusal: 'forwarded' })
    const ttl = parseTtl(c.req.header('x-aws-ec2-metadata-token-ttl-seconds'))
    if (ttl === undefined) return refuse(c, 'token-lifetime', 400)
    // Without the echoed lifetime Rust fails and Go falls back to IMDSv1.
    c.header(TTL_HEADER, String(ttl))
    return success(c, issueToken(tokenKey, ttl, clock.wall()))
  })
  app.all(TOKEN_PATH, (c) =>
    c.req.method === 'OPTIONS'
      ? bare(c, 200, { allow: TOKEN_METHODS })
      : bare(c, 405, { allow: TOKEN_METHODS, refusal: 'method' }),
  )

  app.get('/', (c) => success(c, VERSION_LISTING))

  app.get(`${IAM_PATH}/*`, (c) => {
    const below = c.req.path.slice(IAM_PATH.length + 1)
    const answer = answerIam(below, view(), role())
    return answer.status === 200 ? success(c, answer.body, answer.modified) : failure(c, answer.status)
  })

  app.get('/latest/*', (c) => {
    const { path, slash } = c.get('target')
    const below = path.slice('/latest'.length)
    const leaf = tree().leaf(below)
    const names = directory(below, tree(), view().kind !== 'none')
    if (names !== undefined && (slash || leaf === undefined)) return success(c, listing(names))
    return leaf === undefined ? failure(c, 404) : success(c, leaf)
  })

  app.notFound((c) =>
    reads(c.req.method) ? failure(c, 404) : bare(c, 405, { allow: METADATA_METHODS, refusal: 'method' }),
  )
  app.onError((error, c) => {
    options.onError(error)
    return failure(c, 500)
  })
  return app
}

/** HEAD is GET without the body. */
function reads(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** What a directory lists. `iam/` is ours, and there unless the pod has no role. */
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

/** Parses a URL; a request asks three times for its own, and SDKs ask for the same ones, so the last is kept. */
function lastTarget(): (url: string) => TargetResult {
  let last: { url: string; result: TargetResult } | undefined
  return (url) => {
    if (last?.url !== url) last = { url, result: parseTarget(url) }
    return last.result
  }
}
