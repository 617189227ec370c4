/** Connections to the built bundle: keep-alive, pipelining, half-closed connections, and slow, hostile or too many clients. */
import assert from 'node:assert/strict'
import { Agent, get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { LIMITS } from '../../sidecar/http/server.ts'
import { until } from '../support/until.ts'
import {
  ask,
  loopbackEnv,
  openWorkshop,
  parseAnswers,
  requestBytes,
  type SidecarProcess,
  send,
  startBroker,
  startProcess,
  type TestBroker,
  type Workshop,
} from './support/index.ts'

const LIST = '/latest/meta-data/iam/security-credentials/'

describe('connections', () => {
  let workshop: Workshop
  let broker: TestBroker
  let sidecar: SidecarProcess
  const sockets: Socket[] = []

  before(async () => {
    workshop = await openWorkshop()
    broker = await startBroker()
    sidecar = await startProcess(workshop, loopbackEnv(workshop, broker.url), { ready: true })
  })
  after(async () => {
    for (const socket of sockets) socket.destroy()
    await sidecar?.end()
    await broker?.close()
    workshop?.remove()
  })

  const open = async (address = '127.0.0.1') => {
    const socket = connect(sidecar.port, address)
    sockets.push(socket)
    socket.on('error', () => {})
    await new Promise<void>((done) => socket.once('connect', done))
    return socket
  }
  /** A client like HTTP libraries: it uses its connection again unless an answer said `Connection: close`. */
  const worker = (first: Socket) => {
    let socket = first
    let isLast = false
    let received = ''
    const listen = () =>
      socket.setEncoding('latin1').on('data', (data: string) => {
        received += data
      })
    listen()
    return {
      isOpen: () => !socket.readableEnded && !socket.destroyed,
      /** Whether there was an answer; false if the connection ended without notice. */
      ask: async (): Promise<boolean> => {
        if (isLast) {
          socket = await open()
          listen()
        }
        received = ''
        socket.write(requestBytes({ path: LIST }))
        await until(
          'an answer or the end',
          () => received.endsWith('team/reader') || socket.readableEnded || socket.destroyed,
        )
        isLast = /^connection: close\r$/im.test(received)
        return received.startsWith('HTTP/1.1 200 ')
      },
    }
  }
  const stillGood = async () => assert.equal((await ask(sidecar.port, { path: LIST })).body, 'team/reader')

  test('a connection serves several requests in turn (Ruby: PUT and two GETs)', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const used = new Set<unknown>()
    for (let round = 0; round < 3; round++)
      await new Promise<void>((done, fail) => {
        const request = get({ port: sidecar.port, host: '127.0.0.1', path: LIST, agent }, (response) =>
          response.resume().on('end', done),
        )
        request.on('socket', (socket) => used.add(socket)).on('error', fail)
      })
    agent.destroy()
    assert.equal(used.size, 1)
  })

  test('pipelined requests are answered in order', async () => {
    const text = ['/latest/meta-data/instance-id', LIST, '/nothing']
      .map((path) => requestBytes({ path }))
      .join('')
    const answers = parseAnswers(
      await send(sidecar.port, text + requestBytes({ headers: { Connection: 'close' } })),
    )
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 404, 200],
    )
    assert.equal(answers[1]?.body, 'team/reader')
  })

  test('a connection with hundreds of requests at once is closed before the answers fill the memory', async () => {
    const socket = connect(sidecar.port, '127.0.0.1')
    socket.on('error', () => {})
    sockets.push(socket)
    const closed = new Promise((resolve) => socket.on('close', resolve))
    let received = 0
    socket.on('data', (chunk) => {
      received += chunk.length
    })
    socket.write(requestBytes({ path: `${LIST}team/reader` }).repeat(800))
    await closed
    const one = (await ask(sidecar.port, { path: `${LIST}team/reader` })).body.length
    assert.ok(received < 100 * one, `${received} bytes`)
    assert.equal((await ask(sidecar.port, { path: LIST })).status, 200)
  })

  test('a client that has half-closed its connection still gets its answers', async () => {
    const text = requestBytes({ path: LIST }) + requestBytes({ path: '/latest' })
    const answers = parseAnswers(await send(sidecar.port, text, { halfClose: true }))
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['team/reader', 'dynamic\nmeta-data'],
    )
  })

  test('an HTTP/1.0 connection is closed after the answer, unless the request asks to keep it alive', async () => {
    const answer = parseAnswers(await send(sidecar.port, requestBytes({ version: '1.0', path: LIST })))
    assert.equal(answer[0]?.headers.get('connection'), 'close')
    const both =
      requestBytes({ version: '1.0', headers: { Connection: 'keep-alive' } }) +
      requestBytes({ version: '1.0' })
    assert.equal(parseAnswers(await send(sidecar.port, both)).length, 2)
  })

  test('a request that arrives byte by byte is answered', async () => {
    const socket = await open()
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    for (const byte of requestBytes({ path: LIST })) socket.write(byte)
    await until('the answer', () => received.includes('team/reader'))
  })

  test('a valid request before a malformed one is answered first', async () => {
    const answers = parseAnswers(await send(sidecar.port, `${requestBytes({ path: LIST })}NONSENSE\r\n\r\n`))
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 400],
    )
    assert.equal(answers[0]?.body, 'team/reader')
    assert.equal(answers[1]?.headers.get('server'), 'EC2ws')
  })

  for (const [what, bytes] of Object.entries({
    'an empty line': '\r\n\r\n',
    'a TLS hello': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'HTTP/0.9': 'GET /\r\n\r\n',
    'a negative length': 'PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n',
    'two lengths': 'PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'length and chunks (request smuggling)':
      'PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'an invalid chunk size': 'PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    'a folded header': 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n',
    'a space before the colon': 'GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n',
    'a bare CR': 'GET / HTTP/1.1\rHost: 127.0.0.1\r\r',
    zeros: '\0'.repeat(100),
  }))
    test(`${what} is never answered with a 200, and the next client is served`, async () => {
      const text = await send(sidecar.port, bytes, { halfClose: true }).catch(() => '')
      assert.doesNotMatch(text, /^HTTP\/1\.\d 2/)
      await stillGood()
    })

  test('a client that opens too many connections loses some of its own, and another client is served', async () => {
    const flood: Socket[] = []
    for (let count = 0; count < LIMITS.connections + 40; count++) flood.push(await open())
    await stillGood()
    await until(
      'idle connections are closed',
      () => flood.filter(({ destroyed, readableEnded }) => destroyed || readableEnded).length >= 40,
    )
    const text = await (await fetch(`http://127.0.0.1:${sidecar.healthPort}/metrics`)).text()
    const [, ended] = /status="none",reason="too-many-connections"\} (\d+)/.exec(text) ?? []
    assert.ok(Number(ended) >= 40, `${ended} counted`)
    assert.equal(sidecar.logs.filter(({ reason }) => reason === 'too-many-connections').length, 1)
    for (const socket of flood) socket.destroy()
  })

  test('400 clients with keep-alive connections never lose one without notice, and few connections stay open', async () => {
    const workers = await Promise.all(Array.from({ length: 400 }, () => open().then(worker)))
    for (let round = 0; round < 3; round++)
      for (const answered of await Promise.all(workers.map((one) => one.ask()))) assert.ok(answered)
    await until(
      'the announced connections have ended',
      () => workers.filter(({ isOpen }) => isOpen()).length <= LIMITS.keptAlive,
    )
    for (const answered of await Promise.all(workers.map((one) => one.ask()))) assert.ok(answered)
  })

  test('a connection with half-sent headers is ended with 408 in time, while others are served', async () => {
    const socket = await open()
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    const start = Date.now()
    socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n')
    await stillGood()
    await until('the connection has ended', () => socket.destroyed || socket.readableEnded)
    assert.match(received, /^HTTP\/1\.1 408 /)
    // Node would wait for a minute.
    assert.ok(Date.now() - start < LIMITS.headersTimeout + 25_000)
  })

  test('no request is lost over 16 connections at once', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 16 })
    const once = () =>
      new Promise<number | undefined>((done, fail) => {
        get({ port: sidecar.port, host: '127.0.0.1', path: LIST, agent }, (response) =>
          response.resume().on('end', () => done(response.statusCode)),
        ).on('error', fail)
      })
    const statuses = await Promise.all(Array.from({ length: 800 }, once))
    agent.destroy()
    assert.ok(statuses.every((status) => status === 200))
  })

  test('::1 is served on the same port if the machine has IPv6', async (t) => {
    const socket = connect(sidecar.port, '::1')
    const result = await new Promise((done) =>
      socket
        .once('connect', () => done('connected'))
        .once('error', (error) => done((error as NodeJS.ErrnoException).code)),
    )
    socket.destroy()
    if (result === 'EADDRNOTAVAIL' || result === 'EAFNOSUPPORT') return t.skip('this machine has no ::1')
    assert.equal((await ask(sidecar.port, { path: LIST, address: '::1', host: '[::1]' })).body, 'team/reader')
  })

  test('the other addresses of the machine are not served', async () => {
    await assert.rejects(send(sidecar.port, requestBytes({}), { address: '127.0.0.2' }))
  })
})
