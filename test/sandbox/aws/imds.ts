/** EC2's instance metadata service: IMDSv1 and v2 with their wire rules, and a record of all requests. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { peerOf, readBody, sayNothing, wait } from './exchange.ts'
import { ImdsTokens, parseTtl } from './imds-token.ts'
import { listing, metadataTree } from './imds-tree.ts'
import type { FaultEffect, ImdsRequest } from './model.ts'
import type { World } from './world.ts'

const TTL_REQUEST = 'x-aws-ec2-metadata-token-ttl-seconds'
const TTL_RESPONSE = 'X-Aws-Ec2-Metadata-Token-Ttl-Seconds'
const TOKEN_PATH = '/latest/api/token'

// The versions that `/` lists; each is an alias of `latest` for reading, but not for the token.
const VERSIONS =
  '1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01 2009-04-04 2011-01-01 2011-05-01 2012-01-12 2014-02-25 2014-11-05 2015-10-20 2016-04-19 2016-06-30 2016-09-02 2018-03-28 2018-08-17 2018-09-24 2019-10-01 2020-10-27 2021-01-03 2021-03-23 2021-07-15 2022-07-09 2022-09-24 2024-04-11 latest'.split(
    ' ',
  )

type Answer = {
  readonly status: number
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
  readonly token?: ImdsRequest['token']
}

/** The metadata service of this world as a server factory: all its servers accept the same tokens. */
export function imdsServers(world: World): () => Server {
  const tokens = new ImdsTokens()
  return () => {
    const server = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
      handle(world, tokens, request, response).catch(() => response.destroy())
    })
    server.on('connection', (socket) => {
      const peer = peerOf(socket)
      world.imdsConnections.set(peer, (world.imdsConnections.get(peer) ?? 0) + 1)
    })
    return server
  }
}

async function handle(
  world: World,
  tokens: ImdsTokens,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = (request.url ?? '/').split('?')[0] ?? '/'
  const peer = peerOf(request.socket)
  const facts = {
    time: world.now(),
    peer,
    local: (request.socket.localAddress ?? '').replace(/^::ffff:/, ''),
    method: request.method ?? '',
    path,
    userAgent: request.headers['user-agent'] ?? '',
  }
  await readBody(request)
  const { delay, effect } = world.faults.take({ service: 'imds', peer, path })
  await wait(delay, response)
  if (effect?.kind === 'hang' || effect?.kind === 'close') {
    world.imdsRequests.add({ ...facts, status: 0, token: 'none' })
    await sayNothing(effect, response)
    return
  }
  const answer = effect ? faultAnswer(effect) : respond(world, tokens, request, path)
  world.imdsRequests.add({ ...facts, status: answer.status, token: answer.token ?? 'none' })
  if (response.destroyed) return
  response.sendDate = false
  response.writeHead(answer.status, {
    'Content-Type': answer.status >= 400 && answer.body !== '' ? 'text/html' : 'text/plain',
    'Accept-Ranges': 'none',
    'Last-Modified': new Date(world.now()).toUTCString(),
    'Content-Length': Buffer.byteLength(answer.body),
    Date: new Date(world.now()).toUTCString(),
    Server: 'EC2ws',
    ...answer.headers,
  })
  response.end(request.method === 'HEAD' ? undefined : answer.body)
}

function respond(world: World, tokens: ImdsTokens, request: IncomingMessage, path: string): Answer {
  if (world.imds.httpEndpoint === 'disabled') return problem(403)
  if (path === TOKEN_PATH) return respondToken(world, tokens, request)
  // Trailing slash or version in the path of the token: 403, empty (captured; "this behavior is intended").
  if (request.method === 'PUT' && /^\/[\w.-]+\/api\/token\/?$/.test(path)) return empty(403)
  if (request.method !== 'GET' && request.method !== 'HEAD') return empty(405, { Allow: 'GET, HEAD' })
  const sent = request.headers['x-aws-ec2-metadata-token']
  if (sent === undefined)
    return world.imds.httpTokens === 'required' ? problem(401) : respondMetadata(world, path)
  const left = tokens.remaining(String(sent), Math.floor(world.now() / 1000))
  // An invalid token is refused even if none is needed.
  if (left === undefined) return { ...problem(401), token: 'invalid' }
  const answer = respondMetadata(world, path)
  return { ...answer, token: 'valid', headers: { ...answer.headers, [TTL_RESPONSE]: String(left) } }
}

function respondToken(world: World, tokens: ImdsTokens, request: IncomingMessage): Answer {
  if (request.method === 'OPTIONS') return empty(200, { Allow: 'OPTIONS, PUT' })
  if (request.method !== 'PUT') return empty(405, { Allow: 'OPTIONS, PUT' })
  if (request.headers['x-forwarded-for'] !== undefined) return empty(403)
  const ttl = parseTtl(request.headersDistinct[TTL_REQUEST]?.join(','))
  if (ttl === undefined) return problem(400)
  const body = tokens.make(Math.floor(world.now() / 1000) + ttl)
  return { status: 200, body, headers: { [TTL_RESPONSE]: String(ttl) } }
}

function respondMetadata(world: World, path: string): Answer {
  // Java produces doubled slashes from an endpoint that ends with one; botocore sends a trailing slash.
  const [version, ...rest] = path.split('/').filter((part) => part !== '')
  if (version === undefined) return { status: 200, body: VERSIONS.join('\n') }
  if (!VERSIONS.includes(version)) return problem(404)
  const tree = metadataTree(world)
  const key = rest.join('/')
  const leaf = tree.get(key)
  if (leaf) {
    const binary = { 'Content-Type': 'application/octet-stream', 'Accept-Ranges': 'bytes' }
    return { status: 200, body: leaf(), ...(key === 'user-data' ? { headers: binary } : {}) }
  }
  const list = listing(tree, key)
  return list === undefined ? problem(404) : { status: 200, body: list }
}

function faultAnswer(effect: FaultEffect): Answer {
  if (effect.kind === 'answer')
    return {
      status: effect.status,
      body: effect.body,
      headers: { 'Content-Type': effect.contentType ?? 'text/plain' },
    }
  if (effect.kind === 'throttle') return problem(429)
  if (effect.kind === 'deny') return problem(403)
  if (effect.kind === 'error') return problem(effect.status)
  return problem(effect.kind === 'unavailable' ? (effect.status ?? 503) : 500)
}

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
}

/** EC2's error page, byte for byte (339 bytes for a 404). */
function problem(status: number): Answer {
  const title = `${status} - ${TITLES[status] ?? 'Error'}`
  const body = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t\t "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>${title}</title>
 </head>
 <body>
  <h1>${title}</h1>
 </body>
</html>
`
  return { status, body }
}

const empty = (status: number, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  body: '',
  headers,
})
