import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connect } from 'node:tls'
import type { Answer, SentBody } from '../../injector/admission/webhook.ts'
import { readCertificate, watchCertificate } from '../../injector/certificates/files.ts'
import { type WebhookServer, webhookApp, webhookServer } from '../../injector/server/https.ts'
import { captureLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { type Authority, authority, type Pair } from './certificates.ts'
import { httpsClient } from './https.ts'

const echo = async (body: string | SentBody): Promise<Answer> => ({
  status: 200,
  body: { length: body.length },
})
const serving = (pair: Pair) => ({ ...pair, notAfter: 0 })
const LOCAL = { port: 0, hostname: '127.0.0.1' }

describe('the webhook routes', () => {
  const app = webhookApp({ mutate: echo, validate: echo })

  it('accept only POST to the paths of the webhooks', async () => {
    for (const path of ['/mutate', '/validate'])
      assert.equal((await app.request(path, { method: 'POST', body: 'x' })).status, 200)
    const get = await app.request('/mutate')
    assert.deepEqual([get.status, get.headers.get('allow')], [405, 'POST'])
    assert.equal((await app.request('/', { method: 'POST', body: 'x' })).status, 404)
  })

  it('accept a body of 7 MiB, more than two objects of 3 MiB, and refuse one above 8 MiB', async () => {
    const post = (size: number) => app.request('/mutate', { method: 'POST', body: 'x'.repeat(size) })
    assert.equal((await post(7 * 1024 * 1024)).status, 200)
    assert.equal((await post(8 * 1024 * 1024 + 1)).status, 413)
  })
})

describe('the bodies of all reviews together', () => {
  /** A webhook that answers only when the test releases it, so that its body stays in memory. */
  function held() {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    let waiting = 0
    const slow = async (body: string | SentBody) => {
      waiting++
      await released
      return echo(body)
    }
    return { slow, release, waiting: () => waiting }
  }
  const post = (app: ReturnType<typeof webhookApp>, body: RequestInit['body'], path = '/mutate') =>
    app.request(path, { method: 'POST', body, duplex: 'half' } as RequestInit)

  it('have a budget: a body beyond it gets 503 with a sentence, and an answer makes room again', async () => {
    const { slow, release, waiting } = held()
    const app = webhookApp({ mutate: slow, validate: echo }, () => false, { bodyBytes: 100, roomMs: 1 })
    const first = post(app, 'x'.repeat(60))
    await until(() => waiting() === 1)
    const second = await post(app, 'x'.repeat(60), '/validate')
    assert.deepEqual([second.status, second.headers.get('connection')], [503, 'close'])
    assert.match(await second.text(), /^pod2iam: too many reviews are under way at the same time, try again/)
    release()
    assert.equal((await first).status, 200)
    assert.equal((await post(app, 'x'.repeat(100))).status, 200)
  })

  it('are counted as they arrive, so that an announced body takes no room', async () => {
    const app = webhookApp({ mutate: echo, validate: echo }, () => false, { bodyBytes: 100 })
    const silent = new Request('http://localhost/mutate', {
      method: 'POST',
      headers: { 'Content-Length': '100' },
      body: new ReadableStream(),
      duplex: 'half',
    } as RequestInit)
    app.request(silent)
    assert.equal((await post(app, 'x'.repeat(100))).status, 200)
  })

  it('give back their room when a client disconnects, a body is too large or a webhook fails', async () => {
    const failing = async (): Promise<Answer> => {
      throw new Error('as arranged')
    }
    const limits = { bodyBytes: 9 * 1024 * 1024 }
    const app = webhookApp({ mutate: failing, validate: echo }, () => false, limits)
    const broken = () => {
      let sent = false
      return new ReadableStream<Uint8Array>({
        pull(controller) {
          if (sent) controller.error(new Error('gone'))
          else controller.enqueue(new Uint8Array(1024 * 1024))
          sent = true
        },
      })
    }
    for (let round = 0; round < 12; round++) {
      assert.equal((await post(app, broken())).status, 500)
      assert.equal((await post(app, 'x'.repeat(1024 * 1024))).status, 500)
      assert.equal((await post(app, new Blob(['x'.repeat(8 * 1024 * 1024 + 1)]).stream())).status, 413)
    }
    const whole = { method: 'POST', body: 'x'.repeat(8 * 1024 * 1024) }
    assert.equal((await app.request('/validate', whole)).status, 200)
  })
})

describe('the webhook server', () => {
  let ca: Authority
  before(async () => {
    ca = await authority()
  })

  async function withServer<T>(
    run: (server: WebhookServer, certificate: Pair) => Promise<T>,
    mutate = echo,
  ): Promise<T> {
    const certificate = await ca.leaf()
    const server = await webhookServer({ mutate, validate: echo }, serving(certificate), LOCAL)
    try {
      return await run(server, certificate)
    } finally {
      await server.drain()
    }
  }

  it('keeps idle connections longer than the API server’s 90 seconds', () =>
    withServer(async ({ port }) => {
      const client = httpsClient(ca.pem)
      const first = await client.send(port, 'POST', '/mutate', 'x')
      const second = await client.send(port, 'POST', '/mutate', 'x')
      client.close()
      const timeout = Number(/timeout=(\d+)/.exec(String(first.headers['keep-alive']))?.[1])
      assert.ok(timeout > 90, String(first.headers['keep-alive']))
      assert.deepEqual([first.reused, second.reused], [false, true])
    }))

  it('speaks TLS 1.2 and refuses TLS 1.1, before and after a reload', () =>
    withServer(async (server) => {
      for (const round of ['before', 'after']) {
        const modern = httpsClient(ca.pem, { maxVersion: 'TLSv1.2' })
        assert.equal((await modern.send(server.port, 'POST', '/mutate', 'x')).status, 200, round)
        modern.close()
        const old = httpsClient(ca.pem, { maxVersion: 'TLSv1.1' })
        await assert.rejects(old.send(server.port, 'POST', '/mutate', 'x'), /protocol version/)
        old.close()
        server.setCertificate(serving(await ca.leaf()))
      }
    }))

  it('gives a new certificate to new connections and keeps the open ones', () =>
    withServer(async (server) => {
      const open = httpsClient(ca.pem)
      const first = await open.send(server.port, 'POST', '/mutate', 'x')
      server.setCertificate(serving(await ca.leaf()))
      const second = await open.send(server.port, 'POST', '/mutate', 'x')
      const fresh = httpsClient(ca.pem)
      const third = await fresh.send(server.port, 'POST', '/mutate', 'x')
      open.close()
      fresh.close()
      assert.deepEqual([second.reused, second.serial], [true, first.serial])
      assert.notEqual(third.serial, first.serial)
    }))

  it('loses no review on kept or new connections while its certificate is replaced', () =>
    withServer(async (server) => {
      let running = true
      const serials = new Set<string>()
      const kept = async () => {
        const client = httpsClient(ca.pem)
        while (running) assert.equal((await client.send(server.port, 'POST', '/mutate', 'x')).status, 200)
        client.close()
      }
      const fresh = async () => {
        while (running) {
          const client = httpsClient(ca.pem)
          const { status, serial } = await client.send(server.port, 'POST', '/mutate', 'x')
          client.close()
          assert.equal(status, 200)
          serials.add(serial)
        }
      }
      const clients = Promise.all([kept(), kept(), fresh(), fresh()])
      for (let round = 0; round < 10; round++) {
        const seen = serials.size
        server.setCertificate(serving(await ca.leaf()))
        await Promise.race([until(() => serials.size > seen), clients])
      }
      running = false
      await clients
    }))

  it('answers the pending review when it drains, and ends that connection', async () => {
    const { promise: release, resolve: finish } = Promise.withResolvers<void>()
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>()
    const slow = async (body: string | SentBody) => {
      enter()
      await release
      return echo(body)
    }
    const server = await webhookServer({ mutate: slow, validate: echo }, serving(await ca.leaf()), LOCAL)
    const client = httpsClient(ca.pem)
    const answer = client.send(server.port, 'POST', '/mutate', 'x')
    await entered
    const drained = server.drain()
    finish()
    const { status, headers } = await answer
    assert.deepEqual([status, headers.connection], [200, 'close'])
    await drained
    await assert.rejects(httpsClient(ca.pem).send(server.port, 'POST', '/mutate', 'x'), /ECONNREFUSED/)
    client.close()
  })

  it('does not wait for connections that were opened and never used', async () => {
    const server = await webhookServer({ mutate: echo, validate: echo }, serving(await ca.leaf()), LOCAL)
    const unused = connect({ port: server.port, host: '127.0.0.1', ca: ca.pem })
    await once(unused, 'secureConnect')
    const ended = once(unused.resume(), 'close')
    await server.drain()
    await ended
  })

  it('answers 503 to a body over the budget, and the same connection can be used again', async () => {
    const limits = { bodyBytes: 1000, connections: 8, requestMs: 10_000 }
    const certificate = serving(await ca.leaf())
    const server = await webhookServer({ mutate: echo, validate: echo }, certificate, LOCAL, limits)
    const client = httpsClient(ca.pem)
    try {
      assert.equal((await client.send(server.port, 'POST', '/mutate', 'x'.repeat(2000))).status, 503)
      assert.equal((await client.send(server.port, 'POST', '/mutate', 'x'.repeat(1000))).status, 200)
    } finally {
      client.close()
      await server.drain()
    }
  })

  it('ends connections that do not send their request in time', async () => {
    const limits = { bodyBytes: 1000, connections: 8, requestMs: 200 }
    const certificate = serving(await ca.leaf())
    const server = await webhookServer({ mutate: echo, validate: echo }, certificate, LOCAL, limits)
    const slow = connect({ port: server.port, host: '127.0.0.1', ca: ca.pem })
    try {
      await once(slow, 'secureConnect')
      slow.write('POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx')
      const started = Date.now()
      await once(slow.resume(), 'close')
      assert.ok(Date.now() - started < 20_000, 'Node checks every 30 s by default')
    } finally {
      slow.destroy()
      await server.drain()
    }
  })

  it('fails to start with an error when its port is in use', () =>
    withServer(async ({ port }, certificate) => {
      await assert.rejects(
        webhookServer({ mutate: echo, validate: echo }, serving(certificate), { ...LOCAL, port }),
        /EADDRINUSE/,
      )
    }))
})

describe('certificate files', () => {
  let directory: string
  let ca: Authority
  let files: { cert: string; key: string }
  before(async () => {
    ca = await authority()
    directory = await mkdtemp(join(tmpdir(), 'pod2iam-cert-'))
    files = { cert: join(directory, 'tls.crt'), key: join(directory, 'tls.key') }
  })
  after(() => rm(directory, { recursive: true, force: true }))

  const write = (pair: Pair) =>
    Promise.all([writeFile(files.cert, pair.cert), writeFile(files.key, pair.key)])

  it('are read together with the expiry of the certificate', async () => {
    const notAfter = new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000)
    await write(await ca.leaf({ notAfter }))
    assert.equal((await readCertificate(files.cert, files.key)).notAfter, notAfter.getTime())
  })

  it('that do not belong together or are malformed are rejected with a sentence', async () => {
    const [one, other] = [await ca.leaf(), await ca.leaf()]
    await write({ cert: one.cert, key: other.key })
    await assert.rejects(readCertificate(files.cert, files.key), /are not a certificate and its key/)
    await write({ cert: one.cert, key: '' })
    await assert.rejects(readCertificate(files.cert, files.key), /are not a certificate and its key/)
    await write({ cert: 'x', key: 'y' })
    await assert.rejects(readCertificate(files.cert, files.key), /are not a certificate and its key/)
    await assert.rejects(readCertificate(`${files.cert}.absent`, files.key), /ENOENT/)
  })

  it('are reloaded when they change, but an unusable pair does not replace the old one', async () => {
    const { log, lines: warnings } = captureLog('warn')
    const [first, second] = [await ca.leaf(), await ca.leaf()]
    await write(first)
    const seen: string[] = []
    const stop = watchCertificate(
      files,
      await readCertificate(files.cert, files.key),
      ({ cert }) => seen.push(cert),
      log,
      5,
    )
    try {
      await writeFile(files.cert, second.cert)
      await until(() => warnings.length > 0)
      assert.deepEqual(seen, [])
      await writeFile(files.key, second.key)
      await until(() => seen.length > 0)
      assert.deepEqual(seen, [second.cert])
      assert.doesNotMatch(JSON.stringify(warnings), /PRIVATE KEY/)
    } finally {
      stop()
    }
  })
})
