/** The shutdown of the webhook server, as its clients see it; the test controls the time. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { afterEach, before, describe, it } from 'node:test'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import type { Answer, SentBody } from '../../injector/admission/webhook.ts'
import { type WebhookServer, webhookServer } from '../../injector/server/https.ts'
import { ENDING_MS, MAX_ACCEPTING } from '../../injector/server/shutdown.ts'
import { needsPeer, peer } from '../peers/peers.ts'
import { type FakeClock, fakeClock } from '../support/fake-clock.ts'
import { until } from '../support/until.ts'
import { type Authority, authority } from './certificates.ts'
import { pod, reviewOf } from './fixtures.ts'
import { webhookClient } from './webhook-client.ts'

const ACCEPT_MS = 5000
const REVIEW = 'POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'
const INTERIM = /^HTTP\/1\.1 103 pod2iam is shutting down\r\n\r\n/

let ca: Authority
before(async () => {
  ca = await authority()
})

/** Ends what a failed test leaves behind. */
const leftOver = new Set<() => void>()
afterEach(() => {
  for (const end of leftOver) end()
  leftOver.clear()
})

const judged = async (body: string | SentBody): Promise<Answer> => ({
  status: 200,
  body: { response: { uid: 'b9f1', length: body.length } },
})

async function serve(clock?: FakeClock, webhook = judged): Promise<WebhookServer> {
  const limits = { bodyBytes: 16 * 1024 * 1024, connections: 64, requestMs: 10_000 }
  const listen = { port: 0, hostname: '127.0.0.1', ...(clock === undefined ? {} : { clock }) }
  const certificate = { ...(await ca.leaf()), notAfter: 0 }
  const server = await webhookServer({ mutate: webhook, validate: webhook }, certificate, listen, limits)
  leftOver.add(() => {
    void server.drain()
    void clock?.advance(2 * ENDING_MS)
  })
  return server
}

type Client = { readonly socket: TLSSocket; text: string; hasEnded: boolean; readonly errors: string[] }

/** A connection that records what it received and how it ended. */
async function dial(port: number): Promise<Client> {
  const options: ConnectionOptions & { allowHalfOpen: boolean } = { ca: ca.pem, allowHalfOpen: true }
  const socket = connect({ port, host: '127.0.0.1', ...options })
  leftOver.add(() => socket.destroy())
  const client: Client = { socket, text: '', hasEnded: false, errors: [] }
  socket.setEncoding('utf8')
  socket.on('data', (text) => {
    client.text += text
  })
  socket.on('end', () => {
    client.hasEnded = true
  })
  socket.on('error', ({ message }) => client.errors.push(message))
  await once(socket, 'secureConnect')
  return client
}

/** Sends a review, waits for its answer, and removes the answer from the received text. */
async function review(client: Client): Promise<string> {
  client.socket.write(REVIEW)
  await until(() => client.text.endsWith('}}'))
  const { text } = client
  client.text = ''
  return text
}

/** Advances the clock in steps until a condition holds or `most` has passed; returns the milliseconds that passed. */
async function moveUntil(
  clock: FakeClock,
  most: number,
  condition: () => boolean,
  step = 20,
): Promise<number> {
  let passed = 0
  for (; passed < most && !condition(); passed += step) {
    await clock.advance(step)
    // Gives the network time to deliver.
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return passed
}

function begin(server: WebhookServer, acceptMs: number) {
  const drain = { isOver: false, over: Promise.resolve() }
  drain.over = server.drain(acceptMs).then(() => {
    drain.isOver = true
  })
  return drain
}

describe('a webhook server that drains', () => {
  it('ends within a second if it is given no time, whatever its clients do', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const [kept, fresh] = [await dial(server.port), await dial(server.port)]
    await review(kept)
    const drain = begin(server, 0)
    const took = await moveUntil(clock, 60_000, () => drain.isOver)
    assert.ok(took <= 1000, `${took} ms`)
    await until(() => INTERIM.test(kept.text))
    for (const { socket } of [kept, fresh]) socket.destroy()
    await drain.over
  })

  it('answers over kept and new connections while its endpoint is being removed, and closes each after one answer', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const kept = await dial(server.port)
    assert.doesNotMatch(await review(kept), /connection: close/i)
    const drain = begin(server, ACCEPT_MS)
    await moveUntil(clock, ACCEPT_MS - 100, () => kept.hasEnded)
    assert.ok(!kept.hasEnded && kept.text === '', 'an idle connection stays as it is')
    const fresh = await dial(server.port)
    for (const client of [kept, fresh]) {
      assert.match(await review(client), /^HTTP\/1\.1 200 OK\r\n[^{]*connection: close\r\n/i)
      await until(() => client.hasEnded)
      assert.deepEqual(client.errors, [])
      client.socket.end()
    }
    await moveUntil(clock, 60_000, () => drain.isOver)
    await drain.over
  })

  it('then announces its end over an idle connection, and still answers a review that was on its way', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const client = await dial(server.port)
    await review(client)
    const drain = begin(server, ACCEPT_MS)
    await moveUntil(clock, ACCEPT_MS + 100, () => false)
    await until(() => client.text !== '')
    assert.match(client.text, INTERIM)
    assert.match(await review(client), /103 pod2iam[^{]*HTTP\/1\.1 200 OK\r\n[^{]*connection: close\r\n/i)
    await until(() => client.hasEnded)
    assert.deepEqual(client.errors, [])
    client.socket.end()
    await moveUntil(clock, 60_000, () => drain.isOver)
    await drain.over
  })

  it('half-closes a connection whose client ignores that, and reads what still arrives instead of resetting it', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const client = await dial(server.port)
    await review(client)
    const drain = begin(server, 0)
    await moveUntil(clock, 60_000, () => client.hasEnded)
    assert.match(client.text, INTERIM)
    client.socket.end(REVIEW)
    await until(() => client.socket.destroyed)
    assert.deepEqual(client.errors, [])
    await moveUntil(clock, 60_000, () => drain.isOver)
    await drain.over
  })

  it('announces nothing over a connection that has just been opened: its review is about to come', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const drain = begin(server, ACCEPT_MS)
    // The quiet second before the end is over after six seconds.
    await moveUntil(clock, ACCEPT_MS - 500, () => false)
    const client = await dial(server.port)
    await moveUntil(clock, 900, () => client.text !== '')
    assert.equal(client.text, '')
    assert.match(await review(client), /^HTTP\/1\.1 200 OK\r\n/)
    client.socket.end()
    await moveUntil(clock, 60_000, () => drain.isOver)
    await drain.over
  })

  it('goes on accepting while connections arrive, up to three times as long', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const drain = begin(server, ACCEPT_MS)
    let passed = 0
    while (passed < MAX_ACCEPTING * ACCEPT_MS - 500) {
      const client = await dial(server.port)
      assert.match(await review(client), /connection: close/i, `after ${passed} ms`)
      client.socket.end()
      passed += await moveUntil(clock, 500, () => false)
    }
    const left = await moveUntil(clock, 60_000, () => drain.isOver)
    assert.ok(left <= 500 + ENDING_MS + 100, `${left} ms more`)
    await drain.over
  })

  it('ends when its time is over, whatever its clients do', async () => {
    const clock = fakeClock()
    const server = await serve(clock, () => new Promise(() => undefined))
    const [unanswered, half, unused] = [
      await dial(server.port),
      await dial(server.port),
      await dial(server.port),
    ]
    unanswered.socket.write(REVIEW)
    half.socket.write(REVIEW.slice(0, 20))
    const drain = begin(server, ACCEPT_MS)
    const took = await moveUntil(clock, 60_000, () => drain.isOver)
    assert.ok(took <= ACCEPT_MS + ENDING_MS + 100, `${took} ms`)
    await drain.over
    for (const { socket } of [unanswered, half, unused]) socket.destroy()
  })
})

describe('the time limit of a request', () => {
  it('begins with its first byte, so that a connection that is kept for later is not ended', async () => {
    const clock = fakeClock()
    const server = await serve(clock)
    const [unused, used, slow] = [await dial(server.port), await dial(server.port), await dial(server.port)]
    await review(used)
    await moveUntil(clock, 80_000, () => unused.hasEnded || used.hasEnded, 500)
    slow.socket.write(REVIEW.slice(0, 20))
    const took = await moveUntil(clock, 60_000, () => slow.hasEnded, 500)
    assert.ok(took >= 10_000, `${took} ms`)
    assert.match(slow.text, /^HTTP\/1\.1 408 /)
    for (const client of [unused, used]) {
      assert.equal(client.text, '')
      assert.match(await review(client), /^HTTP\/1\.1 200 OK\r\n/)
    }
    const drain = begin(server, 0)
    for (const { socket } of [unused, used, slow]) socket.destroy()
    await moveUntil(clock, 60_000, () => drain.isOver)
    await drain.over
  })
})

describe('an API server’s client', needsPeer('webhook-client'), () => {
  const start = async () => {
    const client = await webhookClient(peer('webhook-client') ?? '', ca.pem, reviewOf(pod()))
    leftOver.add(client.kill)
    return client
  }

  it('closes its idle connections when the server announces its end', async () => {
    const [server, other, client] = [await serve(), await serve(), await start()]
    await client.tell(`endpoints 127.0.0.1:${server.port}`)
    const { dialled } = await client.tell('burst 20')
    assert.ok(dialled > 1, `${dialled} connections`)
    await client.tell(`endpoints 127.0.0.1:${other.port}`)
    // Without any time it would end what takes longer than a second, as a client on a busy machine does.
    await server.drain(1)
    const { failures, logged, sent } = await client.tell('burst 20')
    assert.deepEqual([sent, failures], [40, {}])
    assert.ok(logged.length > 0, 'some connections were idle')
    for (const line of logged)
      assert.match(
        line,
        /^Unsolicited response received on idle HTTP channel starting with "HTTP\/1\.1 103 pod2iam/,
      )
    await client.end()
    await other.drain()
  })

  it('gets an answer to each review, however many servers are replaced in the meantime', async () => {
    const client = await start()
    let server = await serve()
    await client.tell(`endpoints 127.0.0.1:${server.port}`)
    // This is slow enough for reviews and the ends of their connections to cross.
    await client.tell('delay 3')
    await client.tell('load')
    for (let replaced = 0; replaced < 15; replaced++) {
      const [old, before] = [server, (await client.tell('report')).sent]
      await until(async () => (await client.tell('report')).sent > before + 60)
      server = await serve()
      await client.tell(`endpoints 127.0.0.1:${server.port}`)
      await old.drain(100)
    }
    const { failures, sent } = await client.end()
    assert.deepEqual(failures, {}, `of ${sent}`)
    await server.drain()
  })
})
