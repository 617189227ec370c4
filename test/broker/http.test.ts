/** The broker's HTTP server against peers that misbehave. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { httpRequest } from '../../common/http-request.ts'
import { Problem } from '../../common/protocol.ts'
import type { Caller } from '../../node-guard/broker/authenticate/authenticate.ts'
import { brokerApp } from '../../node-guard/broker/server/app.ts'
import { brokerServer } from '../../node-guard/broker/server/http-server.ts'
import { listenAll } from '../../node-guard/broker/server/listen.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { freePort } from '../support/free-port.ts'
import { listening } from '../support/listening.ts'
import { silentLog } from '../support/log.ts'
import { eventually } from '../support/until.ts'

const answered: string[] = []
const rejected: string[] = []
let server: Server
let port: number
let fault: Error | undefined

before(async () => {
  const routes = {
    credentials: async () => {
      if (fault) throw fault
      return { Code: 'Success' } as never
    },
    metadata: async () => ({}),
    pod: async () => ({ terminating: false }),
    rejected: ({ peer }: Caller, { code }: Problem) => void rejected.push(`${peer} ${code}`),
  }
  server = brokerServer(brokerApp(routes, silentLog, (path, code) => answered.push(`${path} ${code}`)))
  port = await listening(server)
})
after(() => {
  server.close()
  server.closeAllConnections()
})

const ask = (path: string, options: object = {}) =>
  httpRequest(new URL(path, `http://127.0.0.1:${port}`), { timeoutMs: 5000, maxBytes: 10_000, ...options })

/** Writes raw bytes and resolves with everything that is received until the other side closes. */
async function raw(text: string, localAddress = '127.0.0.1'): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, localAddress })
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk
  })
  socket.on('error', () => {})
  socket.write(text)
  await once(socket, 'close')
  return answer
}

test('only the three routes exist, and only for GET and HEAD', async () => {
  for (const path of ['/v1/credentials', '/v1/metadata', '/v1/pod'])
    assert.equal((await ask(path)).status, 200, path)
  assert.equal((await ask('/v1/credentials', { method: 'HEAD' })).status, 200)
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
    for (const path of ['/v1/credentials', '/v1/pod'])
      assert.equal((await ask(path, { method })).status, 405, `${method} ${path}`)
  for (const path of [
    '/',
    '/v1',
    '/v1/credentials/',
    '/v1/credentials/x',
    '/v2/credentials',
    '/metrics',
    '/readyz',
  ])
    assert.equal((await ask(path)).status, 404, path)
})

test('a request in another protocol version is answered with the broker’s release and the remedy, and is logged', async () => {
  rejected.length = 0
  for (const [path, remedy] of [
    ['/v2/credentials', /was asked in v2: bring the node guard to the release of the sidecar$/],
    ['/v0/credentials', /was asked in v0: create the pod again/],
    ['/v9999/anything?x=1', /was asked in v9999: /],
  ] as const) {
    const { status, body, headers } = await ask(path)
    const { code, detail } = JSON.parse(body)
    assert.deepEqual([status, code, headers['retry-after']], [404, 'protocol-not-spoken', '10'], path)
    assert.match(detail, /^the broker of this node is of release \d+\.\d+\.\d+ and speaks v1, but /)
    assert.match(detail, remedy)
  }
  assert.deepEqual(rejected, Array(3).fill('127.0.0.1 protocol-not-spoken'))
  for (const path of ['/v1/other', '/v2', '/v12345/credentials', '/x/v2/credentials'])
    assert.equal(JSON.parse((await ask(path)).body).code, undefined, path)
  assert.equal(rejected.length, 3)
})

test('every answer names the broker’s release', async () => {
  for (const path of ['/v1/credentials', '/v1/metadata', '/v2/credentials', '/nowhere'])
    assert.match(String((await ask(path)).headers.server), /^pod2iam-broker\/\d+\.\d+\.\d+$/, path)
})

test('a request with a body is refused before the body is read', async () => {
  const head = 'GET /v1/credentials HTTP/1.1\r\nHost: x\r\n'
  assert.match(await raw(`${head}Content-Length: 100000000\r\n\r\n`), /^HTTP\/1\.1 413/)
  assert.match(await raw(`${head}Transfer-Encoding: chunked\r\n\r\n`), /^HTTP\/1\.1 413/)
})

test('headers larger than 12 KiB are refused', async () => {
  assert.match(await raw(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(13_000)}\r\n\r\n`), /^HTTP\/1\.1 431/)
})

test('a peer that never finishes its headers is cut off', async () => {
  const started = Date.now()
  assert.match(await raw('GET /v1/credentials HTTP/1.1\r\nHost: x\r\n', '127.0.0.9'), /^HTTP\/1\.1 408|^$/)
  // Half a minute suffices for a busy machine, and is less than the minute that Node would take.
  assert.ok(Date.now() - started < 30_000)
})

test('a peer may have eight connections, and takes none from another peer', async () => {
  const open = async (localAddress: string) => {
    const socket = connect({ host: '127.0.0.1', port, localAddress })
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  const sockets = await Promise.all(Array.from({ length: 12 }, () => open('127.0.0.20')))
  await eventually('four of them closed', () => sockets.filter(({ closed }) => closed).length === 4)
  assert.equal((await ask('/v1/credentials', { localAddress: '127.0.0.21' })).status, 200)
  for (const socket of sockets) socket.destroy()
  await eventually(
    'free again',
    async () => (await ask('/v1/credentials', { localAddress: '127.0.0.20' })).status === 200,
  )
})

test('64 peers with eight idle connections each do not keep other peers out', {
  timeout: 300_000,
}, async () => {
  const kept = await Promise.all(
    Array.from({ length: 512 }, async (_, index) => {
      const socket = connect({ host: '127.0.0.1', port, localAddress: `127.0.40.${(index >> 3) + 1}` })
      socket.on('error', () => {}).resume()
      await once(socket, 'connect')
      return socket
    }),
  )
  for (let index = 1; index <= 40; index++)
    assert.equal((await ask('/v1/credentials', { localAddress: `127.0.41.${index}` })).status, 200)
  for (const socket of kept) socket.destroy()
})

test('the broker closes a connection after its request when no other follows', {
  timeout: 300_000,
}, async () => {
  const answer = await raw('GET /v1/credentials HTTP/1.1\r\nHost: x\r\n\r\n', '127.0.0.30')
  assert.match(answer, /^HTTP\/1\.1 200/)
})

test('a connection is closed when a peer sends many requests at once on it', async () => {
  const before = answered.length
  const answer = await raw('GET /v1/credentials HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500), '127.0.0.31')
  assert.ok((answer.match(/HTTP\/1\.1 200/g) ?? []).length <= 2)
  assert.ok(answered.length - before <= 2, `${answered.length - before} requests were answered`)
})

test('a problem keeps its status, code, sentence and Retry-After', async () => {
  fault = new Problem('sts-throttled', 'a sentence', { retryAfter: 9 })
  const { status, headers, body } = await ask('/v1/credentials')
  fault = undefined
  assert.deepEqual(
    [status, headers['retry-after'], headers['content-type']],
    [503, '9', 'application/problem+json'],
  )
  assert.equal(JSON.parse(body).detail, 'a sentence')
  assert.equal(answered.at(-1), 'credentials sts-throttled')
})

test('an internal error is a 503 that shows no details', async () => {
  fault = new TypeError('secret internals')
  const { status, body } = await ask('/v1/credentials')
  fault = undefined
  assert.equal(status, 503)
  assert.ok(!body.includes('internals'))
})

test('an address whose port another process still holds is bound once it is free', async () => {
  const taken = await freePort()
  const holder = createServer().listen(taken, '127.0.0.1')
  await once(holder, 'listening')
  const listeners = listenAll(['127.0.0.1', '127.0.0.2'], taken, () => createServer(), {
    clock: systemClock,
    log: silentLog,
  })
  await eventually('the other address is bound at once', () => listeners.bound().length === 1)
  assert.equal(listeners.bound()[0]?.address, '127.0.0.2')
  holder.close()
  await eventually('both are bound', () => listeners.bound().length === 2)
  await listeners.stop()
  await eventually('none is bound', () => listeners.bound().length === 0)
})

/** A connection to port `to`, what was received over it, and how it ended. */
async function dialled(to: number) {
  const socket = connect({ host: '127.0.0.1', port: to })
  const seen = { socket, text: '', ended: false, error: '' }
  socket.on('data', (chunk) => {
    seen.text += chunk
  })
  socket.on('close', () => {
    seen.ended = true
  })
  socket.on('error', ({ message }) => {
    seen.error = message
  })
  await once(socket, 'connect')
  return seen
}

test('a listener that stops still answers requests on the connections that it has', async () => {
  const [clock, free] = [fakeClock(), await freePort()]
  const answer: { give?: () => void } = {}
  const requests: string[] = []
  const create = () =>
    createServer(async ({ url = '' }, response) => {
      requests.push(url)
      if (url === '/slow')
        await new Promise<void>((resolve) => {
          answer.give = resolve
        })
      response.end(`answer to ${url}`)
    })
  const listeners = listenAll(['127.0.0.1'], free, create, { clock, log: silentLog })
  await eventually('it is bound', () => listeners.bound().length === 1)
  const [slow, late, silent] = [await dialled(free), await dialled(free), await dialled(free)]
  slow.socket.write('GET /slow HTTP/1.0\r\n\r\n')
  await eventually('it was asked', () => answer.give !== undefined)
  let isOver = false
  const over = listeners.stop().then(() => {
    isOver = true
  })
  await eventually('it accepts no more', () => listeners.bound().length === 0)
  late.socket.write('GET /late HTTP/1.1\r\nHost: x\r\n\r\n')
  await eventually('the late one has its answer', () => late.ended)
  assert.match(late.text, /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n.*answer to \/late$/is)
  await clock.advance(300)
  await eventually('the connection without a request is closed', () => silent.ended)
  assert.deepEqual([slow.ended, isOver], [false, false])
  answer.give?.()
  await over
  await eventually('the slow one has its answer', () => slow.ended)
  assert.match(slow.text, /answer to \/slow$/)
  assert.deepEqual([slow.error, late.error, requests], ['', '', ['/slow', '/late']])
  await assert.rejects(dialled(free), /ECONNREFUSED/)
})

test('a listener that stops waits at most five seconds for an answer', async () => {
  const [clock, free] = [fakeClock(), await freePort()]
  let asked = false
  const create = () =>
    createServer(() => {
      asked = true
    })
  const listeners = listenAll(['127.0.0.1'], free, create, { clock, log: silentLog })
  await eventually('it is bound', () => listeners.bound().length === 1)
  const client = await dialled(free)
  client.socket.write('GET / HTTP/1.0\r\n\r\n')
  await eventually('it was asked', () => asked)
  let isOver = false
  const over = listeners.stop().then(() => {
    isOver = true
  })
  await eventually('it accepts no more', () => listeners.bound().length === 0)
  for (let passed = 0; passed < 4900; passed += 100) await clock.advance(100)
  assert.equal(isOver, false)
  for (let passed = 0; passed < 200; passed += 100) await clock.advance(100)
  await over
  await eventually('the connection is closed', () => client.ended)
})
