/** The node's own metadata service, version 2 only: a token first, never a fallback to version 1. */
import { Agent } from 'node:http'
import type { Clock } from '../../../common/clock.ts'
import { type HttpReply, httpRequest } from '../../../common/http-request.ts'
import { singleFlight } from '../../../common/single-flight.ts'

export type Imds = ReturnType<typeof imdsClient>

const TOKEN_SECONDS = 21_600
const TIMEOUT_MS = 2000
const MAX_BYTES = 64 * 1024

/** @param endpoint such as `http://169.254.169.254` */
export function imdsClient(endpoint: string, clock: Clock) {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 })
  let token: { readonly value: string; readonly until: number } | undefined

  const exchange = (method: 'GET' | 'PUT', path: string, headers: Record<string, string>) =>
    httpRequest(new URL(path, endpoint), {
      agent,
      method,
      headers,
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_BYTES,
    })

  // One token for all concurrent requests.
  const newToken = singleFlight(async () => {
    const reply = await exchange('PUT', '/latest/api/token', {
      'X-aws-ec2-metadata-token-ttl-seconds': String(TOKEN_SECONDS),
    })
    if (reply.status !== 200) throw refusal('PUT /latest/api/token', reply)
    token = { value: reply.body, until: clock.now() + (TOKEN_SECONDS - 60) * 1000 }
    return token.value
  })
  const currentToken = async () => (token && clock.now() < token.until ? token.value : newToken())
  const read = async (path: string) =>
    exchange('GET', `/latest/${path}`, { 'X-aws-ec2-metadata-token': await currentToken() })

  return {
    /**
     * The text at `/latest/<path>`, or undefined where there is none (404).
     *
     * @throws where the metadata service gives no answer or refuses
     */
    get: async (path: string) => {
      let reply = await read(path)
      if (reply.status === 401) {
        // The instance was stopped and started, or the token ran out early.
        token = undefined
        reply = await read(path)
      }
      if (reply.status === 404) return undefined
      if (reply.status !== 200) throw refusal(`GET /latest/${path}`, reply)
      return reply.body
    },
    close: () => agent.destroy(),
  }
}

function refusal(what: string, reply: HttpReply): Error {
  return new Error(`the instance metadata service answered ${reply.status} to ${what}`)
}

/** The endpoint that the AWS SDKs would use: flag, their environment variables, otherwise EC2's. */
export function imdsEndpoint(
  given: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string {
  if (given) return given
  if (env.AWS_EC2_METADATA_SERVICE_ENDPOINT) return env.AWS_EC2_METADATA_SERVICE_ENDPOINT
  const ipv6 = env.AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE?.toLowerCase() === 'ipv6'
  return ipv6 ? 'http://[fd00:ec2::254]' : 'http://169.254.169.254'
}
