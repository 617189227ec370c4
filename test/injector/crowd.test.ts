/** A crowd at one address that takes all it can get, beside a client that only wants its review answered. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:https'
import { after, before, describe, it } from 'node:test'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import fc from 'fast-check'
import type { Answer, SentBody } from '../../injector/admission/webhook.ts'
import { bodyBudget, type Share } from '../../injector/server/body-budget.ts'
import { type ServerLimits, type WebhookServer, webhookServer } from '../../injector/server/https.ts'
import { until } from '../support/until.ts'
import { type Authority, authority } from './certificates.ts'
import { httpsClient } from './https.ts'

const CROWD = '127.0.0.66'
const echo = async (body: string | SentBody): Promise<Answer> => ({
  status: 200,
  body: { length: body.length },
})

describe('the body budget', () => {
  const body = (budget: ReturnType<typeof bodyBudget>, address: string, bytes: number) => {
    const calls = { aborted: 0 }
    const share = budget.open(address, () => calls.aborted++)
    return { share, calls, taken: share.take(bytes) }
  }

  it('takes bytes from the address that holds most of them, starting with its oldest unfinished body', () => {
    const budget = bodyBudget(100)
    const other = body(budget, 'b', 20)
    const [first, second] = [body(budget, 'a', 30), body(budget, 'a', 50)]
    const newcomer = body(budget, 'c', 10)
    assert.deepEqual([first.calls.aborted, second.calls.aborted, other.calls.aborted], [1, 0, 0])
    assert.equal(newcomer.taken, true)
    assert.equal(first.share.take(1), false, 'what was given up gets nothing more')
    assert.equal(first.share.complete(), false)
    assert.equal(second.share.complete(), true)
  })

  it('does not let the address that holds most take bytes from another one', () => {
    const budget = bodyBudget(100)
    const others = [body(budget, 'a', 30), body(budget, 'b', 30)]
    assert.equal(body(budget, 'c', 41).taken, false)
    assert.deepEqual(
      others.map(({ calls }) => calls.aborted),
      [0, 0],
    )
  })

  it('never gives up a body that is being judged, and reserves room beside those of one address', () => {
    const budget = bodyBudget(100)
    const judged = body(budget, 'a', 60)
    assert.equal(judged.share.complete(), true)
    assert.equal(body(budget, 'a', 16).taken, false)
    assert.equal(body(budget, 'a', 15).taken, true)
    assert.equal(body(budget, 'b', 25).taken, true)
    assert.equal(body(budget, 'b', 15).taken, true, 'the unfinished body of 15 is given up')
    assert.equal(judged.calls.aborted, 0)
  })

  it('lets a body without room wait for those being judged, and serves the address that holds least first', async () => {
    const budget = bodyBudget(100)
    const judged = body(budget, 'a', 60)
    judged.share.complete()
    const other = body(budget, 'b', 40)
    other.share.complete()
    const order: string[] = []
    for (const [address, bytes] of [
      ['b', 20],
      ['a', 30],
      ['c', 20],
    ] as const) {
      const { share, taken } = body(budget, address, bytes)
      assert.equal(taken, false)
      share.wait(bytes).then((got) => order.push(`${address} ${got}`))
    }
    judged.share.release()
    await until(() => order.length === 2)
    assert.deepEqual(order, ['a true', 'c true'])
    other.share.release()
    await until(() => order.length === 3)
    assert.deepEqual(order[2], 'b true')
  })

  it('gives up no body for another of the same address while any body is being judged', async () => {
    const budget = bodyBudget(100)
    const judged = body(budget, 'b', 30)
    judged.share.complete()
    const first = body(budget, 'a', 60)
    const second = body(budget, 'a', 30)
    assert.deepEqual([second.taken, first.calls.aborted], [false, 0])
    const waited = second.share.wait(30)
    judged.share.release()
    assert.equal(await waited, true)
    assert.equal(first.calls.aborted, 0)
  })

  it('lets nobody wait for bodies that may never end, nor longer than its limit', async () => {
    const budget = bodyBudget(100, 1)
    const own = body(budget, 'a', 90)
    const late = body(budget, 'a', 5)
    assert.equal(await late.share.wait(50), false)
    own.share.complete()
    assert.equal(await late.share.wait(50), false, 'after a millisecond')
  })

  it('has all its bytes again when every body is released, whatever happened before', () => {
    const action = fc.record({
      address: fc.constantFrom('a', 'b', 'c'),
      bytes: fc.nat(70),
      end: fc.constantFrom('wait', 'complete', 'release'),
    })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const budget = bodyBudget(100)
        const shares: Share[] = []
        for (const { address, bytes, end } of actions) {
          const share = budget.open(address, () => undefined)
          shares.push(share)
          share.take(bytes)
          if (end === 'complete') share.complete()
          if (end === 'release') share.release()
        }
        for (const share of [...shares, ...shares]) share.release()
        const whole = budget.open('z', () => undefined)
        return whole.take(100) && !whole.take(1)
      }),
    )
  })
})

describe('a crowd from one address', () => {
  let ca: Authority
  const sockets = new Set<TLSSocket>()
  before(async () => {
    ca = await authority()
  })
  after(() => {
    for (const socket of sockets) socket.destroy()
  })

  async function withServer(
    limits: ServerLimits,
    run: (server: WebhookServer) => Promise<void>,
    webhook: (body: string | SentBody) => Promise<Answer> = echo,
  ) {
    const certificate = { ...(await ca.leaf()), notAfter: 0 }
    const place = { port: 0, hostname: '127.0.0.1' }
    const server = await webhookServer({ mutate: webhook, validate: webhook }, certificate, place, limits)
    try {
      await run(server)
    } finally {
      await server.drain()
    }
  }
  /** A connection of the crowd that sends this text. */
  async function intruder(port: number, text = '') {
    const options = { port, host: '127.0.0.1', localAddress: CROWD, ca: ca.pem }
    const socket = connect(options as ConnectionOptions).on('error', () => undefined)
    sockets.add(socket)
    // If the connection is ended during its handshake, an error comes first, which `once` would throw.
    await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve))
    if (text !== '') socket.write(text)
    return socket
  }
  const header = (length: number) => `POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`
  const limits = { bodyBytes: 1000, connections: 8, requestMs: 10_000 }

  it('that fills the budget with unfinished bodies loses one to a newcomer', () =>
    withServer(limits, async ({ port }) => {
      const answers: string[] = []
      for (let count = 0; count < 2; count++) {
        const socket = await intruder(port, `${header(501)}${'x'.repeat(500)}`)
        socket.once('data', (data) => answers.push(String(data)))
      }
      const client = httpsClient(ca.pem)
      // Its bytes may arrive before those of the crowd; then there is room, and the next newcomer finds none.
      await until(async () => {
        assert.equal((await client.send(port, 'POST', '/mutate', 'x'.repeat(20))).status, 200)
        return answers.length > 0
      })
      client.close()
      assert.match(answers[0] ?? '', /^HTTP\/1\.1 503 .*\r\n(?:.*\r\n)*connection: close/i)
    }))

  it('that holds every connection loses one of its own, and an idle client keeps its only connection', () =>
    withServer(limits, async ({ port }) => {
      const kept = httpsClient(ca.pem)
      await kept.send(port, 'POST', '/mutate', 'x')
      const crowd = await Promise.all(Array.from({ length: 30 }, () => intruder(port)))
      await until(() => crowd.filter(({ closed }) => !closed).length <= 7)
      const fresh = httpsClient(ca.pem)
      assert.equal((await fresh.send(port, 'POST', '/mutate', 'x')).status, 200)
      const again = await kept.send(port, 'POST', '/mutate', 'x')
      assert.deepEqual([again.status, again.reused], [200, true])
      for (const client of [kept, fresh]) client.close()
    }))

  it('that holds every connection with unfinished requests does not lock others out either', () =>
    withServer(limits, async ({ port }) => {
      for (let count = 0; count < 8; count++) await intruder(port, header(10))
      const client = httpsClient(ca.pem)
      assert.equal((await client.send(port, 'POST', '/mutate', 'x')).status, 200)
      client.close()
    }))

  it('that sends requests without waiting for their answers loses that connection', () =>
    withServer(limits, async ({ port }) => {
      const socket = await intruder(port, `${header(1)}x`.repeat(50))
      socket.resume()
      await until(() => socket.closed)
    }))

  it('that does not read its answers loses its connections', async () => {
    let answers = 0
    const large = async (body: string | SentBody): Promise<Answer> => {
      answers++
      // More than the kernel buffers for a peer that does not read.
      return String(body) === 'large'
        ? { status: 200, body: { text: 'x'.repeat(32 * 1024 * 1024) } }
        : echo(body)
    }
    const run = async ({ port }: WebhookServer) => {
      const deaf = await intruder(port)
      deaf.pause()
      deaf.write(`${header(5)}large`)
      await until(() => answers === 1)
      const client = httpsClient(ca.pem)
      await until(() =>
        client.send(port, 'POST', '/mutate', 'x').then(
          ({ status }) => status === 200,
          () => false,
        ),
      )
      client.close()
    }
    await withServer({ ...limits, connections: 1 }, run, large)
  })

  it('gets no connection while every connection has a review that is being judged', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    let waiting = 0
    const slow = async (body: string | SentBody) => {
      waiting++
      await released
      return echo(body)
    }
    const run = async ({ port }: WebhookServer) => {
      const clients = Array.from({ length: 8 }, () => httpsClient(ca.pem))
      const answers = clients.map((client) => client.send(port, 'POST', '/mutate', 'x'))
      await until(() => waiting === 8)
      const late = request({ host: '127.0.0.1', port, ca: ca.pem, agent: false, localAddress: CROWD })
      late.end()
      await assert.rejects(once(late, 'response'))
      release()
      for (const answer of answers) assert.equal((await answer).status, 200)
      for (const client of clients) client.close()
    }
    await withServer(limits, run, slow)
  })
})
