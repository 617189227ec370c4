/** The HTTPS call of a webhook, with keep-alive connections, timeouts and certificate checks like the API server's. */
import { Agent, request } from 'node:https'
import { isIP, type Socket } from 'node:net'
import { messageOf } from '../../../../common/errors.ts'
import { type JsonObject, objectAt, stringAt } from '../objects/objects.ts'
import type { Store } from '../objects/store.ts'
import { goError, statusText } from './go-errors.ts'
import { serviceEndpoints } from './service-resolver.ts'

/** Go's default transport closes connections that were idle for this long. */
const IDLE_MS = 90_000
const RESPONSE_LIMIT = 16 * 1024 * 1024

/**
 * Keeps connections for 90 s whatever the server announces in `Keep-Alive: timeout=…`: Go does not read that
 * header, so tests must show the failures of a webhook server with a shorter timeout.
 */
class GoAgent extends Agent {
  override keepSocketAlive(socket: Socket): boolean {
    socket.setKeepAlive(true, 30_000)
    socket.unref()
    socket.off('timeout', destroyIdle) // a listener of the request before
    socket.setTimeout(IDLE_MS, destroyIdle)
    return true
  }
}

function destroyIdle(this: Socket): void {
  this.destroy()
}

type Target = {
  readonly host: string
  readonly port: number
  readonly serverName: string
  readonly url: URL
}

/** @throws Error when a service has no endpoint */
function resolve(store: Store, config: JsonObject, timeoutSeconds: number): Target {
  const service = objectAt(config, 'service')
  const name = stringAt(service, 'name')
  const timeout = `${timeoutSeconds}s`
  if (name === undefined) {
    const url = new URL(stringAt(config, 'url') ?? '')
    url.searchParams.set('timeout', timeout)
    const host = url.hostname.replace(/^\[|\]$/g, '')
    return { host, port: Number(url.port || 443), serverName: host, url }
  }
  const namespace = stringAt(service, 'namespace') ?? ''
  const serverName = `${name}.${namespace}.svc`
  const url = new URL(stringAt(service, 'path') ?? '/', `https://${serverName}`)
  url.searchParams.set('timeout', timeout)
  try {
    const endpoints = serviceEndpoints(store, namespace, name, Number(service.port ?? 443))
    const chosen = endpoints[Math.floor(Math.random() * endpoints.length)]
    if (chosen === undefined) throw new Error(`no endpoints available for service "${name}"`)
    return { ...chosen, serverName, url }
  } catch (error) {
    throw new Error(`Post "${shown(config, url)}": ${messageOf(error)}`)
  }
}

/** The URL as Go prints it: service URLs have their port. */
function shown(config: JsonObject, url: URL): string {
  const service = objectAt(config, 'service')
  if (service.name === undefined) return url.href
  return `https://${url.hostname}:${service.port ?? 443}${url.pathname}${url.search}`
}

function post(agent: GoAgent, target: Target, timeoutMs: number, body: string): Promise<string> {
  const { host, port, serverName, url } = target
  return new Promise((resolveText, reject) => {
    const outgoing = request(
      {
        agent,
        host,
        port,
        method: 'POST',
        path: `${url.pathname}${url.search}`,
        ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
        signal: AbortSignal.timeout(timeoutMs),
        headers: {
          host: url.host,
          accept: 'application/json, */*',
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'user-agent': 'kube-apiserver-admission',
        },
      },
      async (response) => {
        try {
          const chunks: Buffer[] = []
          let size = 0
          for await (const chunk of response) {
            size += chunk.length
            if (size > RESPONSE_LIMIT) throw new Error('the response is too large')
            chunks.push(chunk)
          }
          const text = Buffer.concat(chunks).toString('utf8')
          const { statusCode = 0 } = response
          if (statusCode < 200 || statusCode > 206) reject(new StatusError(statusText(statusCode, text)))
          else resolveText(text)
        } catch (error) {
          reject(error)
        }
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

export type WebhookCaller = {
  /**
   * Posts a review and returns the parsed answer.
   *
   * @param timeoutSeconds of the webhook
   * @throws Error with the text that follows `failed to call webhook: `
   */
  call(config: JsonObject, timeoutSeconds: number, review: unknown): Promise<unknown>
}

export function createWebhookCaller(store: Store, now: () => number): WebhookCaller {
  const agents = new Map<string, GoAgent>()

  /** One set of connections for each webhook address and CA, like the client cache of the real server. */
  function agentFor(serverName: string, ca: string | undefined): GoAgent {
    const key = `${serverName} ${ca ?? ''}`
    let agent = agents.get(key)
    if (agent === undefined) {
      agent = new GoAgent({ keepAlive: true, ...(ca === undefined ? {} : { ca }), minVersion: 'TLSv1.2' })
      agents.set(key, agent)
    }
    return agent
  }

  /** @throws Error as `call` does */
  async function answer(
    config: JsonObject,
    target: Target,
    timeoutSeconds: number,
    review: unknown,
  ): Promise<string> {
    const bundle = stringAt(config, 'caBundle') || undefined
    const ca = bundle === undefined ? undefined : Buffer.from(bundle, 'base64').toString('utf8')
    try {
      return await post(
        agentFor(target.serverName, ca),
        target,
        timeoutSeconds * 1000,
        JSON.stringify(review),
      )
    } catch (error) {
      if (error instanceof StatusError) throw error
      const aborted = error instanceof Error && ['AbortError', 'TimeoutError'].includes(error.name)
      const why = aborted ? 'context deadline exceeded' : goError(error, target.serverName, now())
      throw new Error(`Post "${shown(config, target.url)}": ${why}`)
    }
  }

  return {
    async call(config, timeoutSeconds, review) {
      const target = resolve(store, config, timeoutSeconds)
      const text = await answer(config, target, timeoutSeconds, review)
      try {
        return JSON.parse(text)
      } catch (error) {
        throw new Error(`couldn't get version/kind; json parse error: ${messageOf(error)}`)
      }
    },
  }
}

/** The webhook answered with an HTTP error. */
class StatusError extends Error {
  override readonly name = 'StatusError'
}
