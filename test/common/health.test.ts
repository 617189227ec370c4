import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Server } from 'node:http'
import { connect, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { after, before, describe, it } from 'node:test'
import { healthServer, type Readiness, serveHealth } from '../../common/health.ts'
import { captureLog } from '../support/log.ts'

const READY: Readiness = { ready: true, code: 'ready' }
const DENIED: Readiness = {
  ready: false,
  code: 'sts-denied',
  detail: 'role arn:aws:iam::111111111111:role/x does not trust …',
}

describe('health', () => {
  let server: Server
  let port: number
  let readiness: Readiness = READY
  before(async () => {
    server = healthServer({ readiness: () => readiness, metrics: async () => 'pod2iam_up 1\n' }).listen(0)
    await once(server, 'listening')
    port = (server.address() as { port: number }).port
  })
  after(() => server.close())

  const get = (path: string, init?: RequestInit, host = '127.0.0.1') =>
    fetch(`http://${host}:${port}${path}`, init)

  it('/livez answers whatever readiness says', async () => {
    readiness = DENIED
    assert.equal((await get('/livez')).status, 200)
  })

  it('/readyz answers 200 when ready, 503 with the reason code when not', async () => {
    readiness = READY
    const ready = await get('/readyz')
    assert.deepEqual([ready.status, await ready.json()], [200, READY])
    readiness = DENIED
    const denied = await get('/readyz?verbose')
    assert.deepEqual([denied.status, await denied.json()], [503, DENIED])
  })

  it('/readyz shows the detail to loopback peers only', async (context) => {
    readiness = DENIED
    const other = Object.values(networkInterfaces())
      .flat()
      .find((one) => one?.family === 'IPv4' && !one.internal)
    if (other === undefined) return context.skip('this machine has no address besides loopback')
    const answer = await get('/readyz', undefined, other.address)
    assert.deepEqual([answer.status, await answer.json()], [503, { ready: false, code: 'sts-denied' }])
    return undefined
  })

  it('/readyz shows the detail over IPv6 loopback', async () => {
    readiness = DENIED
    assert.deepEqual(await (await get('/readyz', undefined, '[::1]')).json(), DENIED)
  })

  it('/metrics is Prometheus text, also from a promise', async () => {
    const answer = await get('/metrics')
    assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    assert.equal(await answer.text(), 'pod2iam_up 1\n')
  })

  it('HEAD answers like GET without a body', async () => {
    const answer = await get('/metrics', { method: 'HEAD' })
    assert.deepEqual(
      [answer.status, answer.headers.get('content-length'), await answer.text()],
      [200, '13', ''],
    )
  })

  it('any other path is 404, and any method but GET and HEAD is 405', async () => {
    assert.equal((await get('/')).status, 404)
    assert.equal((await get('/readyz/')).status, 404)
    assert.equal((await get('/debug')).status, 404)
    for (const method of ['POST', 'PUT', 'DELETE'])
      assert.equal((await get('/readyz', { method })).status, 405)
  })

  it('a header beyond 8 KiB is refused', async () => {
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: ${'x'.repeat(9000)}\r\n\r\n`)
    const [chunk] = await once(socket, 'data')
    socket.destroy()
    assert.match(String(chunk), /^HTTP\/1\.1 431 /)
  })

  it('sixty-four silent connections do not keep a probe out', async () => {
    const silent = await Promise.all(
      Array.from({ length: 64 }, async () => {
        const socket = connect(port, '127.0.0.1')
        await once(socket, 'connect')
        return socket
      }),
    )
    try {
      const probe = connect(port, '127.0.0.1')
      probe.write('GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      const [chunk] = await once(probe, 'data')
      assert.match(String(chunk), /^HTTP\/1\.1 200 /)
    } finally {
      for (const socket of silent) socket.destroy()
    }
  })
})

it('a health port that is taken is reported with a remedy and tried again, and errors of a listener that works do not end it', async (context) => {
  const squatter = createServer().listen(0)
  await once(squatter, 'listening')
  const { port } = squatter.address() as { port: number }
  const { log, lines } = captureLog()
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const server = healthServer({ readiness: () => READY, metrics: () => '' })
  const stop = serveHealth(server, port, log)
  await once(server, 'error')
  assert.equal(lines[0]?.code, 'health-port-taken')
  assert.match(
    String(lines[0]?.detail),
    /^port \d+ cannot be listened on \(.*EADDRINUSE.*\): find the process that holds it/,
  )
  squatter.close()
  await once(squatter, 'close')
  context.mock.timers.tick(5000)
  await once(server, 'listening')
  server.emit('error', new Error('accept EMFILE'))
  context.mock.timers.tick(5000)
  assert.equal((await fetch(`http://127.0.0.1:${port}/livez`)).status, 200)
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['health not served', 'health served', 'health listener error'],
  )
  stop()
})
