import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connect } from 'node:tls'
import { readCertificate, watchCertificate } from '../../injector/certificate-files.ts'
import { type WebhookServer, webhookApp, webhookServer } from '../../injector/server.ts'
import type { Answer } from '../../injector/webhook.ts'
import { type Authority, authority, type Pair } from './certificates.ts'
import { httpsClient, until } from './https.ts'

const echo = async (body: string): Promise<Answer> => ({ status: 200, body: { length: body.length } })
const serving = (pair: Pair) => ({ ...pair, notAfter: 0 })
const LOCAL = { port: 0, hostname: '127.0.0.1' }

describe('the routes', () => {
  const app = webhookApp({ mutate: echo, validate: echo })

  it('only POST /mutate and POST /validate are webhooks', async () => {
    for (const path of ['/mutate', '/validate'])
      assert.equal((await app.request(path, { method: 'POST', body: 'x' })).status, 200)
    const get = await app.request('/mutate')
    assert.deepEqual([get.status, get.headers.get('allow')], [405, 'POST'])
    assert.equal((await app.request('/', { method: 'POST', body: 'x' })).status, 404)
  })

  it('a body of 3 MiB twice is taken, one above 8 MiB is not', async () => {
    const post = (size: number) => app.request('/mutate', { method: 'POST', body: 'x'.repeat(size) })
    assert.equal((await post(7 * 1024 * 1024)).status, 200)
    assert.equal((await post(8 * 1024 * 1024 + 1)).status, 413)
  })
})

describe('the server', () => {
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

  it('gives new connections a new certificate and lets open ones go on', () =>
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

  it('answers what is under way when it drains, and ends that connection', async () => {
    const { promise: release, resolve: finish } = Promise.withResolvers<void>()
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>()
    const slow = async (body: string) => {
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

  it('fails to start in words when its port is taken', () =>
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

  it('are read with the end of the certificate’s life', async () => {
    const notAfter = new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000)
    await write(await ca.leaf({ notAfter }))
    assert.equal((await readCertificate(files.cert, files.key)).notAfter, notAfter.getTime())
  })

  it('that do not belong together, or are none, are told in a sentence', async () => {
    const [one, other] = [await ca.leaf(), await ca.leaf()]
    await write({ cert: one.cert, key: other.key })
    await assert.rejects(readCertificate(files.cert, files.key), /are not a certificate and its key/)
    await write({ cert: one.cert, key: '' })
    await assert.rejects(readCertificate(files.cert, files.key), /are not a certificate and its key/)
    await write({ cert: 'x', key: 'y' })
    await assert.rejects(readCertificate(files.cert, files.key), /are not a certificate and its key/)
    await assert.rejects(readCertificate(`${files.cert}.absent`, files.key), /ENOENT/)
  })

  it('are reloaded when they change; a pair that cannot serve leaves the old one', async () => {
    const warnings: string[] = []
    const log = {
      debug() {},
      info() {},
      warn: (_: string, fields = {}) => void warnings.push(JSON.stringify(fields)),
      error() {},
    }
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
      assert.doesNotMatch(warnings.join(), /PRIVATE KEY/)
    } finally {
      stop()
    }
  })
})
