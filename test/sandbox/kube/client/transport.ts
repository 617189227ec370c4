/** HTTPS requests to the API server: keep-alive, over TCP or its unix socket. */

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Agent, type RequestOptions, request } from 'node:https'
import { ApiError, failure, type Status } from '../objects/status.ts'

export type Endpoint = {
  /** Unix socket; else `host` and `port`. */
  readonly socketPath?: string
  readonly host?: string
  readonly port?: number
  readonly caPem: string
  /** A bearer token, read again for every request; undefined means anonymous. */
  readonly token?: () => string | undefined
}

export type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string }

export type Call = {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Tests must not hang, so a request that takes longer fails. */
const TIMEOUT_MS = 45_000

export type Transport = {
  send(call: Call): Promise<Answer>
  /** The response itself, for watches; rejects with an ApiError when it is not a 200. */
  stream(call: Call): Promise<IncomingMessage>
  close(): void
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** The ApiError of an answer that is not a success. */
export function errorOf(answer: Pick<Answer, 'status' | 'body'>): ApiError {
  try {
    const status = JSON.parse(answer.body) as Status
    if (status.kind === 'Status') return new ApiError({ ...status, code: answer.status })
  } catch {
    // Not a Status: a fault on demand, or something that is not an API server.
  }
  return failure(answer.status, '', answer.body.slice(0, 500) || `HTTP ${answer.status}`)
}

export function createTransport(endpoint: Endpoint): Transport {
  const agent = new Agent({ keepAlive: true, ca: endpoint.caPem })
  // Watches get connections of their own, so that they never delay a request.
  const streams = new Agent({ keepAlive: false, ca: endpoint.caPem })

  function start(call: Call, through: Agent, timeout: number): Promise<IncomingMessage> {
    const body =
      call.body === undefined
        ? undefined
        : typeof call.body === 'string'
          ? call.body
          : JSON.stringify(call.body)
    const token = endpoint.token?.()
    const options: RequestOptions = {
      agent: through,
      method: call.method,
      path: call.path,
      timeout,
      servername: 'kubernetes.default.svc',
      ...(endpoint.socketPath === undefined
        ? { host: endpoint.host, port: endpoint.port }
        : { socketPath: endpoint.socketPath }),
      headers: {
        accept: 'application/json, */*',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined
          ? {}
          : {
              'content-type': call.contentType ?? 'application/json',
              'content-length': Buffer.byteLength(body),
            }),
        ...call.headers,
      },
    }
    return new Promise((resolve, reject) => {
      const outgoing = request(options, resolve)
      outgoing.on('timeout', () =>
        outgoing.destroy(new Error(`${call.method} ${call.path} took longer than ${timeout} ms.`)),
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }

  return {
    async send(call) {
      const response = await start(call, agent, TIMEOUT_MS)
      return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) }
    },
    async stream(call) {
      const response = await start(call, streams, 0)
      if (response.statusCode === 200) return response
      throw errorOf({ status: response.statusCode ?? 0, body: await text(response) })
    },
    close() {
      agent.destroy()
      streams.destroy()
    },
  }
}
