/** HTTPS over loopback for tests. */
import { Agent, request } from 'node:https'
import type { TLSSocket } from 'node:tls'

export type HttpsAnswer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
  /** Serial number of the certificate that the connection was made with. */
  readonly serial: string
  readonly reused: boolean
}

type ClientOptions = {
  readonly maxVersion?: 'TLSv1.1' | 'TLSv1.2'
  /** The name that the certificate must have; by default the address. */
  readonly servername?: string
}

/** One keep-alive client with one connection. */
export function httpsClient(ca: string, options: ClientOptions = {}) {
  // The client allows old versions and their ciphers, so that it is the server that refuses them.
  const old = options.maxVersion ? { minVersion: 'TLSv1' as const, ciphers: 'DEFAULT@SECLEVEL=0' } : {}
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca, ...old, ...options })
  const send = (port: number, method: string, path: string, body?: string): Promise<HttpsAnswer> =>
    new Promise((resolve, reject) => {
      const call = request(
        { agent, host: '127.0.0.1', port, method, path, headers: { 'Content-Type': 'application/json' } },
        (response) => {
          const chunks: Buffer[] = []
          const socket = response.socket as TLSSocket
          const serial = socket.getPeerCertificate().serialNumber
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString('utf8'),
              serial,
              reused: call.reusedSocket,
            }),
          )
        },
      )
      call.on('error', reject)
      call.end(body)
    })
  return { send, close: () => agent.destroy() }
}
