/**
 * Replaces every service that clients use with their credentials, and a proxy: it records the access keys with which requests were
 * signed, and the requests for metadata that it should forward.
 */
import { createServer, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { listening } from '../support/listening.ts'

export type StandIn = {
  readonly url: string
  /** The access keys of signed requests so far. */
  readonly signed: string[]
  /** The targets of requests for metadata that a proxy should forward. */
  readonly proxied: string[]
  readonly close: () => void
}

const IDENTITY = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:sts::111111111111:assumed-role/reader/shop.web</Arn><UserId>AROA:shop.web</UserId><Account>111111111111</Account>
</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
const BUCKETS = `<?xml version="1.0"?><ListAllMyBucketsResult><Owner><ID>1</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>`

/** The addresses to which clients send requests for metadata, including that of mode `env`. */
const IS_METADATA = /^http:\/\/(?:169\.254\.169\.254|\[fd00:ec2::254\]|127\.0\.0\.1:9169)/

/** Starts it on 127.0.0.1. */
export async function startStandIn(): Promise<StandIn> {
  const signed: string[] = []
  const proxied: string[] = []
  const server = createServer(async (request, response) => {
    const { url = '' } = request
    const asked = await text(request)
    const key = accessKey(request)
    if (key !== undefined) signed.push(key)
    const isMetadata = IS_METADATA.test(url)
    if (isMetadata) proxied.push(url)
    const body = asked.includes('Action=GetCallerIdentity') ? IDENTITY : BUCKETS
    response.writeHead(isMetadata ? 502 : 200, { 'Content-Type': 'text/xml' }).end(isMetadata ? '' : body)
  })
  server.on('connect', ({ url = '' }, socket) => {
    if (IS_METADATA.test(`http://${url}`)) proxied.push(url)
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
  })
  const port = await listening(server)
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { url: `http://127.0.0.1:${port}`, signed, proxied, close }
}

/** The access key in a signature of version 4 or 2. */
function accessKey({ headers: { authorization = '' } }: IncomingMessage): string | undefined {
  return /Credential=([^/]+)\//.exec(authorization)?.[1] ?? /^AWS ([^:]+):/.exec(authorization)?.[1]
}
