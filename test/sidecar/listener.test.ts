/** Our node:http adapter compared with @hono/node-server: the same app gives the same answers to the same requests. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono/tiny'
import { type FetchHandler, requestListener } from '../../sidecar/http/listener.ts'
import { listening } from '../support/listening.ts'
import { until } from '../support/until.ts'
import { ask, type Exchange, parseAnswers, requestBytes, send } from './support/index.ts'

const BODY_LIMIT = 1024
const errors: unknown[] = []
let aborted = 0
let waiting = 0

function app(): Hono {
  const app = new Hono()
  app.get('/text', (c) => c.text('hello'))
  app.get('/bytes', (c) => c.body(new Uint8Array([1, 2, 255]), 200, { 'Content-Type': 'application/x' }))
  app.get('/empty', (c) => c.body(null, 204))
  app.get('/nothing', (c) => c.body(null))
  app.get('/status', (c) => c.text('tea', 418, { 'X-One': '1' }))
  app.get('/late', async (c) => {
    await new Promise((done) => setImmediate(done))
    return c.text('late')
  })
  app.get('/throws', () => {
    throw new Error('thrown by a handler')
  })
  app.get('/rejects', () => Promise.reject(new Error('rejected by a handler')))
  app.post('/echo', async (c) => c.text(await c.req.text()))
  app.post('/json', async (c) => c.json({ got: await c.req.json() }))
  app.put('/unread', (c) => c.text('not read'))
  app.get('/headers', (c) => c.text(`${c.req.header('x-one')}|${c.req.header('X-TWO') ?? 'none'}`))
  app.get('/url', (c) =>
    c.text(`${c.req.method} ${c.req.path} ${c.req.query('q') ?? ''} ${c.req.header('host')}`),
  )
  app.get('/hangs', async (c) => {
    waiting++
    await new Promise<void>((done) => c.req.raw.signal.addEventListener('abort', () => done()))
    aborted++
    return c.text('too late')
  })
  app.onError((error, c) => {
    errors.push(error)
    return c.text('failed', 500)
  })
  return app
}

const SAME: readonly (readonly [string, Exchange])[] = [
  ['a text', { path: '/text' }],
  ['bytes', { path: '/bytes' }],
  ['204 without a body', { path: '/empty' }],
  ['a null body', { path: '/nothing' }],
  ['a status and a header', { path: '/status' }],
  ['an answer that comes later', { path: '/late' }],
  ['HEAD of a text', { method: 'HEAD', path: '/text' }],
  ['HEAD of an unknown path', { method: 'HEAD', path: '/unknown' }],
  ['an unknown path', { path: '/unknown' }],
  ['a handler that throws', { path: '/throws' }],
  ['a handler that rejects', { path: '/rejects' }],
  ['a body', { method: 'POST', path: '/echo', body: 'some text' }],
  ['an empty body', { method: 'POST', path: '/echo', body: '' }],
  ['a JSON body', { method: 'POST', path: '/json', body: '{"a":[1]}' }],
  ['an invalid JSON body', { method: 'POST', path: '/json', body: '{' }],
  ['a body that the app does not read', { method: 'PUT', path: '/unread', body: 'x'.repeat(100) }],
  [
    'a chunked body',
    { method: 'POST', path: '/echo', headers: { 'Transfer-Encoding': 'chunked', 'X-Chunks': '' } },
  ],
  ['headers in any case', { path: '/headers', headers: { 'X-ONE': 'a', 'x-two': 'b' } }],
  ['a header given twice', { path: '/headers', headers: { 'x-one': 'a', 'X-One': 'b' } }],
  ['a query', { path: '/url?q=1' }],
  ['a Host with a port', { path: '/url', host: '127.0.0.1:8080' }],
  ['an absolute target', { path: 'http://169.254.169.254/text' }],
  ['HTTP/1.0', { path: '/text', version: '1.0' }],
]

/** The headers that must agree; the others (date, connection) come from node:http in both. */
const COMPARED = ['content-type', 'content-length', 'x-one', 'transfer-encoding']

describe('the adapter', () => {
  let ours: Server
  let official: Server
  const port = (server: Server) => (server.address() as AddressInfo).port

  before(async () => {
    const handler = app().fetch as unknown as FetchHandler
    const onError = (error: unknown) => errors.push(error)
    const options = { requireHostHeader: false }
    ours = createServer(
      options,
      requestListener(handler, { bodyLimit: BODY_LIMIT, headerLines: 100, onError }),
    )
    official = createServer(options, getRequestListener(app().fetch, { overrideGlobalObjects: false }))
    for (const server of [ours, official]) await listening(server)
  })
  after(() => {
    for (const server of [ours, official]) {
      server.close()
      server.closeAllConnections()
    }
  })

  for (const [what, exchange] of SAME)
    test(`answers ${what} as @hono/node-server does`, async () => {
      const exact = async (server: Server) => {
        if (exchange.headers?.['Transfer-Encoding'] === undefined) return ask(port(server), exchange)
        const head = requestBytes({
          ...exchange,
          headers: { 'Transfer-Encoding': 'chunked', Connection: 'close' },
        })
        return parseAnswers(await send(port(server), `${head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`))[0]
      }
      const [mine, theirs] = [await exact(ours), await exact(official)]
      assert.equal(mine?.status, theirs?.status)
      assert.equal(mine?.body, theirs?.body)
      for (const name of COMPARED) {
        // The official adapter sends some empty bodies chunked; ours always sends their length.
        if (/length|encoding/.test(name) && mine?.headers.get('content-length') === '0') continue
        assert.equal(mine?.headers.get(name), theirs?.headers.get(name), name)
      }
    })

  test('answers HTTP/1.1 without Host, which the official adapter refuses (aws-c-auth before 0.6.29 sends none)', async () => {
    const exchange = { path: '/text', host: null }
    assert.equal((await ask(port(official), exchange)).status, 400)
    assert.equal((await ask(port(ours), exchange)).body, 'hello')
  })

  test('refuses an announced body over the limit with 413 and ends the connection', async () => {
    const answer = await ask(port(ours), {
      method: 'POST',
      path: '/echo',
      headers: { 'Content-Length': '1025', Connection: 'keep-alive' },
    })
    assert.equal(answer.status, 413)
    assert.equal(answer.headers.get('connection'), 'close')
  })

  test('accepts a body of exactly the limit', async () => {
    const body = 'x'.repeat(BODY_LIMIT)
    assert.equal((await ask(port(ours), { method: 'POST', path: '/echo', body })).body, body)
  })

  test('refuses a chunked body over the limit with 413', async () => {
    const chunk = `${(BODY_LIMIT + 1).toString(16)}\r\n${'x'.repeat(BODY_LIMIT + 1)}\r\n0\r\n\r\n`
    const head = requestBytes({ method: 'POST', path: '/echo', headers: { 'Transfer-Encoding': 'chunked' } })
    assert.equal(parseAnswers(await send(port(ours), head + chunk))[0]?.status, 413)
  })

  test('closes the connection of a client that sends a body over the limit after its answer', async () => {
    const socket = connect(port(ours), '127.0.0.1')
    socket.on('error', () => {})
    socket.write(
      requestBytes({ method: 'PUT', path: '/unread', headers: { 'Transfer-Encoding': 'chunked' } }),
    )
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    await until('the answer comes before the body', () => received.includes('not read'))
    const pump = setInterval(() => socket.write(`400\r\n${'x'.repeat(1024)}\r\n`), 1)
    try {
      await until('the connection is closed', () => socket.destroyed)
    } finally {
      clearInterval(pump)
      socket.destroy()
    }
  })

  test('aborts the request’s signal when the client disconnects, and continues to serve', async () => {
    const socket = connect(port(ours), '127.0.0.1')
    socket.write(requestBytes({ path: '/hangs' }))
    await until('the handler waits', () => waiting === 1)
    socket.destroy()
    await until('the signal is aborted', () => aborted === 1)
    assert.equal((await ask(port(ours), { path: '/text' })).body, 'hello')
  })

  test('survives clients that disconnect in the middle of a body', async () => {
    for (let round = 0; round < 20; round++) {
      const socket = connect(port(ours), '127.0.0.1')
      await new Promise<void>((done) => socket.once('connect', done))
      socket.write(requestBytes({ method: 'POST', path: '/echo', headers: { 'Content-Length': '100' } }))
      socket.resetAndDestroy()
    }
    assert.equal((await ask(port(ours), { path: '/text' })).body, 'hello')
  })

  test('answers 500 and reports the error when the app itself rejects', async () => {
    const seen: unknown[] = []
    const broken = createServer(
      requestListener(() => Promise.reject(new Error('broken app')), {
        bodyLimit: 1,
        headerLines: 100,
        onError: (error) => seen.push(error),
      }),
    )
    await new Promise<void>((done) => broken.listen(0, '127.0.0.1', done))
    try {
      assert.equal((await ask(port(broken), { path: '/' })).status, 500)
      assert.equal(String(seen[0]), 'Error: broken app')
    } finally {
      broken.close()
    }
  })
})
