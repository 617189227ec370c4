/** The client that must not notice anything: sends a request every 50 ms as SDKs do, and checks every answer completely. */
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { type Generation, REGION } from './broker.ts'
import { ROLE } from './secrets.ts'
import { DOCUMENT, LIST, TOKEN, TOKEN_PATH, TTL } from './wire.ts'

export type GoodClient = {
  /** Milliseconds of every answered request. */
  readonly times: readonly number[]
  /** The first few wrong or missing answers, as sentences. */
  readonly faults: readonly string[]
  readonly faultCount: () => number
  /** Connections that were closed when the client wanted to reuse them, where one retry helped. */
  readonly retried: () => number
  /** Session tokens that it received: none may be in the log. */
  readonly tokens: ReadonlySet<string>
  /** Requests of which each may leave a line in the log. */
  readonly requests: () => number
  /** Stops sending requests; resolves when the last answer has arrived. */
  readonly stop: () => Promise<void>
}

const INTERVAL_MS = 50
const MOST_FAULTS = 20
/** A document that was just replaced may still be in transit. */
const OVERLAP_MS = 2000

type Answer = { readonly status: number; readonly body: string }

/**
 * Starts requesting: role list, document, document with a fresh session token, region; on kept-alive and on new
 * connections in turn.
 *
 * @param timeoutMs how long to wait for an answer
 */
export function startGoodClient(
  port: number,
  timeoutMs: number,
  generations: readonly Generation[],
): GoodClient {
  const times: number[] = []
  const faults: string[] = []
  const tokens = new Set<string>()
  const under = new Set<Promise<void>>()
  const kept = new Agent({ keepAlive: true, maxSockets: 4 })
  let [faultCount, retried, requests, turn] = [0, 0, 0, 0]

  const ask = async (method: string, path: string, headers: Record<string, string>, keep: boolean) => {
    for (let attempt = 1; ; attempt++) {
      const agent = keep && attempt === 1 ? kept : false
      const started = performance.now()
      requests++
      try {
        const answer = await exchange({ port, host: '127.0.0.1', method, path, headers, agent }, timeoutMs)
        times.push(performance.now() - started)
        return answer
      } catch (error) {
        // RFC 9112 section 9.3.1: an idle connection may be closed at any time, and every client retries once.
        if (!(error instanceof ReusedConnectionClosed) || attempt > 1) throw error
        retried++
      }
    }
  }
  const freshToken = async (keep: boolean) => {
    const { status, body } = await ask('PUT', TOKEN_PATH, { [TTL]: '60', 'Content-Length': '0' }, keep)
    if (status !== 200 || !/^[\w-]{54}==$/.test(body))
      throw new Error(`token: ${status} ${body.slice(0, 80)}`)
    tokens.add(body)
    return body
  }
  const script: readonly ((keep: boolean) => Promise<void>)[] = [
    async (keep) => expect('list', await ask('GET', LIST, {}, keep), ROLE),
    async (keep) => expectDocument(await ask('GET', DOCUMENT, {}, keep), generations),
    async (keep) => {
      const headers = { [TOKEN]: await freshToken(keep) }
      expectDocument(await ask('GET', DOCUMENT, headers, keep), generations)
    },
    async (keep) =>
      expect('region', await ask('GET', '/latest/meta-data/placement/region', {}, keep), REGION),
  ]
  const timer = setInterval(() => {
    const keep = Math.floor(turn / script.length) % 2 === 0
    const step = script[turn++ % script.length]
    const run = Promise.resolve(step?.(keep))
      .catch((error: unknown) => {
        faultCount++
        const connection = keep ? 'kept connection' : 'new connection'
        if (faults.length < MOST_FAULTS)
          faults.push(
            `${new Date().toISOString()} (${connection}) ${error instanceof Error ? error.message : error}`,
          )
      })
      .finally(() => under.delete(run))
    under.add(run)
  }, INTERVAL_MS)
  return {
    times,
    faults,
    faultCount: () => faultCount,
    retried: () => retried,
    tokens,
    requests: () => requests,
    stop: async () => {
      clearInterval(timer)
      await Promise.all(under)
      kept.destroy()
    },
  }
}

class ReusedConnectionClosed extends Error {}

function exchange(options: RequestOptions, timeoutMs: number): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const outgoing = request(options, (incoming: IncomingMessage) => {
    let body = ''
    incoming.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body })).on('error', reject)
  })
  const timeout = setTimeout(() => outgoing.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    const closed = error.code === 'ECONNRESET' || error.code === 'EPIPE'
    reject(closed && outgoing.reusedSocket ? new ReusedConnectionClosed(error.message) : error)
  })
  outgoing.on('close', () => clearTimeout(timeout)).end()
  return promise
}

function expect(what: string, { status, body }: Answer, wanted: string): void {
  if (status !== 200 || body !== wanted)
    throw new Error(`${what}: ${status} ${JSON.stringify(body.slice(0, 120))} instead of ${wanted}`)
}

/** Checks that the document is the newest one, or the one before while that is being replaced, and never near its expiry. */
function expectDocument(
  { status, body }: Answer,
  generations: readonly Generation[],
  now = Date.now(),
): void {
  if (status !== 200) throw new Error(`document: status ${status}`)
  const newest = generations.at(-1)
  const previous = generations.at(-2)
  const young = newest !== undefined && now - Date.parse(newest.LastUpdated) < OVERLAP_MS
  const found = [newest, ...(young ? [previous] : [])].find(
    (generation) => generation !== undefined && body === documentOf(generation),
  )
  if (found === undefined) throw new Error(`document: not the one of the ${generations.length}th credentials`)
  if (Date.parse(found.Expiration) - now < 59_000) throw new Error('document: it expires within a minute')
}

/** EC2's spelling of the document, repeated here on purpose. */
function documentOf({ AccessKeyId, SecretAccessKey, Token, Expiration, LastUpdated }: Generation): string {
  return `{
  "Code" : "Success",
  "LastUpdated" : "${LastUpdated}",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "${AccessKeyId}",
  "SecretAccessKey" : "${SecretAccessKey}",
  "Token" : "${Token}",
  "Expiration" : "${Expiration}"
}`
}
