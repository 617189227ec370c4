/** Requests to the cluster of a kubeconfig, with every kind of authentication that client-node knows (exec plugins, OIDC…). */
import type { IncomingMessage } from 'node:http'
import { type RequestOptions, request } from 'node:https'
import type { KubeConfig } from '@kubernetes/client-node'
import { type Call, errorOf, type Transport } from '../../sandbox/kube/client/transport.ts'

const TIMEOUT_MS = 45_000

/** @throws Error when the kubeconfig has no current cluster */
export function kubeConfigTransport(config: KubeConfig): Transport {
  const server = config.getCurrentCluster()?.server
  if (server === undefined) throw new Error('the kubeconfig has no current context; pass --context')
  const base = server.replace(/\/$/, '')

  async function start(call: Call, timeout: number): Promise<IncomingMessage> {
    const { body: content, contentType = 'application/json' } = call
    const body =
      content === undefined ? undefined : typeof content === 'string' ? content : JSON.stringify(content)
    const options: RequestOptions = { method: call.method, timeout }
    await config.applyToHTTPSOptions(options)
    const headers = {
      ...options.headers,
      // The API server sends the keys of service accounts as another media type of JSON.
      accept: 'application/json, */*',
      ...(body === undefined
        ? {}
        : { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }),
      ...call.headers,
    }
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const outgoing = request(`${base}${call.path}`, { ...options, headers }, resolve)
    outgoing.on('timeout', () =>
      outgoing.destroy(new Error(`${call.method} ${call.path} took longer than ${timeout} ms`)),
    )
    outgoing.on('error', reject)
    outgoing.end(body)
    return promise
  }

  return {
    async send(call) {
      const response = await start(call, TIMEOUT_MS)
      return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) }
    },
    async stream(call) {
      const response = await start(call, 0)
      if (response.statusCode === 200) return response
      throw errorOf({ status: response.statusCode ?? 0, body: await text(response) })
    },
    close: () => undefined,
  }
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
