/** The requests that a sidecar sends to itself before it is ready, which are neither counted nor logged and never block it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { readiness } from '../../sidecar/health/readiness.ts'
import { type Endpoint, warmUpOf } from '../../sidecar/warm-up.ts'
import { listening } from '../support/listening.ts'
import {
  ask,
  freshToken,
  loopbackEnv,
  openWorkshop,
  startBroker,
  startProcess,
  type TestBroker,
  type Workshop,
} from './support/index.ts'

const LIST = '/latest/meta-data/iam/security-credentials/'

describe('a warm-up', () => {
  /** A server that records requests and answers each with `a-word`. */
  async function listener() {
    const asked: { method?: string | undefined; url: string; token: unknown }[] = []
    const server = createServer(({ method, url = '', headers }, outgoing) => {
      asked.push({ method, url, token: headers['x-aws-ec2-metadata-token'] })
      outgoing.end('a-word')
    })
    return { asked, server, port: await listening(server) }
  }

  test('sends the same requests as SDKs, runs once, and recognises its own requests until it is over', async () => {
    const { asked, server, port } = await listener()
    const warmUp = warmUpOf()
    const run = warmUp.run(port, 'team/reader')
    assert.equal(warmUp.isOver(), false)
    await Promise.all([run, warmUp.run(port, 'team/reader')])
    server.close()
    const paths = asked.map(({ method, url }) => `${method} ${url.split('?')[0]}`)
    const one = ['PUT /latest/api/token', `GET ${LIST}`, `GET ${LIST}team/reader`]
    assert.deepEqual(paths, [...one, ...one, ...one])
    assert.deepEqual([...new Set(asked.slice(1, 3).map(({ token }) => token))], ['a-word'])
    const marks = new Set(asked.map(({ url }) => url.split('?')[1]))
    assert.equal(marks.size, 1)
    assert.match([...marks][0] ?? '', /^[\da-f]{32}$/)
    assert.equal(warmUp.isOver(), true)
    assert.equal(warmUp.isOwn(`http://127.0.0.1${asked[0]?.url}`), false, 'no request is hidden by it later')
  })

  test('does not recognise requests of other clients as its own', async () => {
    const warmUp = warmUpOf()
    for (const url of [LIST, `${LIST}?`, `${LIST}?${'0'.repeat(32)}`])
      assert.equal(warmUp.isOwn(`http://169.254.169.254${url}`), false)
  })

  test('uses the redirect, once it is in place, if direct connections are refused', async () => {
    const [closed, redirect] = [await listener(), await listener()]
    closed.server.close()
    await once(closed.server, 'close')
    const redirected = Promise.withResolvers<Endpoint>()
    const warmUp = warmUpOf()
    const run = warmUp.run(closed.port, 'reader', redirected.promise)
    redirected.resolve({ host: '127.0.0.1', port: redirect.port })
    await run
    redirect.server.close()
    assert.deepEqual([warmUp.isOver(), redirect.asked.length], [true, 9])
  })

  test('is over also if nothing answers', async () => {
    const { server, port } = await listener()
    server.close()
    await once(server, 'close')
    const warmUp = warmUpOf()
    await warmUp.run(port, 'reader')
    assert.equal(warmUp.isOver(), true)
  })
})

describe('a sidecar', () => {
  let workshop: Workshop
  let broker: TestBroker
  before(async () => {
    workshop = await openWorkshop()
    broker = await startBroker()
  })
  after(async () => {
    await broker?.close()
    workshop?.remove()
  })

  test('is not ready before its warm-up is over if its gate waits for credentials', () => {
    const view = { kind: 'none' } as const
    const passed = {
      selfTestPassed: true,
      blockPassed: true,
      blockReason: undefined,
      secretProblem: undefined,
    }
    const before = { ...passed, view, snapshotAsked: true, warm: false }
    const codeOf = (startupGate: 'on' | 'off', warm = false) =>
      readiness({ ...before, startupGate, warm }).code
    assert.deepEqual([codeOf('on'), codeOf('on', true), codeOf('off')], ['warming-up', 'ready', 'ready'])
  })

  for (const imds of ['optional', 'required'])
    test(`that is ready (tokens ${imds}) has not counted or logged a request, and counts the next ones`, async () => {
      const env = { ...loopbackEnv(workshop, broker.url), POD2IAM_LOG_LEVEL: 'debug' }
      const { port, healthPort, logs, end } = await startProcess(
        workshop,
        { ...env, POD2IAM_IMDS_TOKENS: imds },
        { ready: true },
      )
      const requests = async () =>
        (await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text())
          .split('\n')
          .filter((line) => line.startsWith('pod2iam_sidecar_requests_total'))
      try {
        assert.deepEqual(await requests(), [])
        assert.deepEqual(
          logs.filter(({ msg }) => msg.startsWith('request')),
          [],
        )
        const headers = { 'X-aws-ec2-metadata-token': await freshToken(port) }
        assert.equal((await ask(port, { path: LIST, headers })).status, 200)
        assert.equal((await requests()).length, 2)
      } finally {
        await end()
      }
    })
})
