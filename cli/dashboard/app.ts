/** The two routes: the page, and its updates. */
import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { deniedBy } from './access.ts'
import type { Feed, View } from './feed.ts'
import { parseFilter } from './filter.ts'
import { CONTENT_SECURITY_POLICY, pageOf, updateOf } from './page/document.ts'

export type AppOptions = {
  readonly feed: Feed
  /** The listening port, which the Host header must contain. */
  readonly port: () => number
  /** How long a page waits for data, milliseconds; after that it says that there is none yet. */
  readonly waitMs?: number
  /** Interval of keep-alive comments on a stream without updates, milliseconds. */
  readonly aliveMs?: number
}

export type App = Hono<{ Bindings: HttpBindings }>

/** Browsers open at most six connections to a host; this is enough for several browsers. */
const MAX_STREAMS = 32
const WAIT_MS = 10_000
const ALIVE_MS = 15_000

const HEADERS = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Cache-Control': 'no-store',
} as const

export function dashboardApp({ feed, port, waitMs = WAIT_MS, aliveMs = ALIVE_MS }: AppOptions): App {
  const app: App = new Hono()
  let streams = 0

  app.use(async (context, next) => {
    for (const [name, value] of Object.entries(HEADERS)) context.header(name, value)
    const denied = deniedBy(context.req.method, context.env.incoming.headers, port())
    if (denied === undefined) return next()
    if (denied.status === 405) context.header('Allow', 'GET')
    return context.text(`${denied.message}\n`, denied.status)
  })

  app.get('/', async (context) => {
    const view = await feed.latest(waitMs)
    return context.html(await pageOf(view, parseFilter(new URL(context.req.url).searchParams)))
  })

  app.get('/live', (context) => {
    if (streams >= MAX_STREAMS)
      return context.text('This page is open in too many windows; close some.\n', 503, {
        'Retry-After': '30',
      })
    const filter = parseFilter(new URL(context.req.url).searchParams)
    streams++
    const response = streamSSE(context, async (stream) => {
      const ended = Promise.withResolvers<void>()
      stream.onAbort(ended.resolve)
      let sending = Promise.resolve()
      let newest: View | undefined
      // A slow reader gets the newest update instead of a queue.
      const send = (view: View) => {
        newest = view
        sending = sending
          .then(async () => {
            if (newest !== view) return
            await stream.writeSSE({ event: 'sections', data: await updateOf(view, filter) })
          })
          .catch(ended.resolve)
      }
      const unwatch = feed.watch(send)
      const alive = setInterval(() => void stream.write(': alive\n\n').catch(ended.resolve), aliveMs)
      void feed.latest(0).then((view) => {
        if (newest === undefined && (view.snapshot ?? view.fault) !== undefined) send(view)
      })
      await ended.promise
      clearInterval(alive)
      unwatch()
      streams--
    })
    response.headers.set('Cache-Control', 'no-store')
    return response
  })

  app.notFound((context) => context.text('The only page is at /.\n', 404))
  app.onError((_error, context) =>
    context.text('The page could not be created; pod2iam status shows the nodes.\n', 500),
  )
  return app
}
