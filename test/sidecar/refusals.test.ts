/** Each request that is refused for its form, by the app or before it, gives one count and one log line. Over TCP on the built bundle. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { exchangeLog } from '../../sidecar/health/exchange-log.ts'
import { REFUSALS, type Refusal } from '../../sidecar/health/refusals.ts'
import { LIMITS } from '../../sidecar/http/server.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { HOST, LEAF, LIST, lines, TOKEN_PATH, TTL } from './shapes/shape.ts'
import {
  ask,
  loopbackEnv,
  openWorkshop,
  type SidecarProcess,
  send,
  startBroker,
  startProcess,
  type TestBroker,
  type Workshop,
} from './support/index.ts'

/** Must never be in a log line or a metric. */
const SECRET = 'c2VjcmV0'
const GET = `GET ${LEAF}?q=${SECRET} HTTP/1.1`
/** Served for every client. */
const OPTIONS = `OPTIONS ${TOKEN_PATH} HTTP/1.1`
const PUT = `PUT ${TOKEN_PATH} HTTP/1.1`

type Case = {
  readonly reason: Refusal
  readonly send: string
  readonly route: string
  readonly status: number | 'none'
  /** The number of valid requests before it, each with its own count. */
  readonly others?: number
}

const BEFORE_THE_APP: readonly Case[] = [
  {
    reason: 'headers-too-large',
    send: lines(GET, HOST, `X: ${SECRET.repeat(1100)}`),
    route: 'malformed',
    status: 431,
  },
  {
    reason: 'headers-too-large',
    send: lines(GET, HOST, ...Array.from({ length: 101 }, (_, n) => `X-${n}: ${SECRET}`)),
    route: 'malformed',
    status: 431,
  },
  {
    reason: 'headers-too-large',
    send: lines(`GET /${'a'.repeat(9000)} HTTP/1.1`, HOST),
    route: 'malformed',
    status: 431,
  },
  {
    reason: 'body-too-large',
    send: lines(PUT, HOST, `${TTL}: 60`, 'Content-Length: 5000'),
    route: 'malformed',
    status: 413,
  },
  {
    reason: 'body-too-large',
    send: `${lines(PUT, HOST, `${TTL}: 60`, 'Transfer-Encoding: chunked')}1770\r\n${'x'.repeat(6000)}\r\n0\r\n\r\n`,
    route: 'malformed',
    status: 413,
  },
  {
    reason: 'tls',
    send: `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${SECRET}`,
    route: 'malformed',
    status: 400,
  },
  {
    reason: 'host-malformed',
    send: lines(GET, `Host: 127.0.0.1#${SECRET}`),
    route: 'malformed',
    status: 400,
  },
  { reason: 'http2', send: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', route: 'malformed', status: 400 },
  { reason: 'malformed', send: `${SECRET}\r\n\r\n`, route: 'malformed', status: 400 },
  { reason: 'malformed', send: lines(GET, HOST, `X Y: ${SECRET}`), route: 'malformed', status: 400 },
  { reason: 'malformed', send: `GET ${LEAF}\r\n\r\n`, route: 'malformed', status: 400 },
  { reason: 'cut-short', send: `${GET}\r\n${HOST}\r\nX: ${SECRET}`, route: 'malformed', status: 400 },
  {
    reason: 'method',
    send: lines('CONNECT 169.254.169.254:80 HTTP/1.1', HOST),
    route: 'malformed',
    status: 405,
  },
  {
    reason: 'after-close',
    send: lines(OPTIONS, HOST, 'Connection: close') + lines(GET, HOST),
    route: 'malformed',
    status: 'none',
    others: 1,
  },
  {
    reason: 'pipelining',
    send: lines(OPTIONS, HOST).repeat(LIMITS.pipelined + 100),
    route: 'malformed',
    status: 'none',
    others: LIMITS.pipelined,
  },
]

const CONTAINER = 'GET /container-credentials HTTP/1.1'
const container = (reason: Refusal, status: number, ...headers: string[]): Case => ({
  ...{ reason, status, route: 'container-credentials', send: lines(CONTAINER, ...headers) },
})

const BY_THE_APP: readonly Case[] = [
  container('container-host', 403, HOST),
  container('container-browser', 403, 'Host: 127.0.0.1:9169', `Origin: ${SECRET}`),
  container('container-token-missing', 401, 'Host: 127.0.0.1:9169'),
  container('container-token-invalid', 401, 'Host: 127.0.0.1:9169', `Authorization: ${SECRET}`),
  { reason: 'host-foreign', send: lines(GET, 'Host: evil.example'), route: 'meta-data', status: 403 },
  {
    reason: 'token-invalid',
    send: lines(GET, HOST, `X-aws-ec2-metadata-token: ${SECRET}`),
    route: 'meta-data',
    status: 401,
  },
  { reason: 'token-missing', send: lines(GET, HOST), route: 'meta-data', status: 401 },
  { reason: 'token-lifetime', send: lines(PUT, HOST, `${TTL}: 0`), route: 'token', status: 400 },
  {
    reason: 'token-path',
    send: lines(`PUT ${TOKEN_PATH}/ HTTP/1.1`, HOST, `${TTL}: 60`),
    route: 'token',
    status: 403,
  },
  {
    reason: 'forwarded',
    send: lines(PUT, HOST, `${TTL}: 60`, `X-Forwarded-For: ${SECRET}`),
    route: 'token',
    status: 403,
  },
  { reason: 'method', send: lines(`DELETE ${LEAF} HTTP/1.1`, HOST), route: 'meta-data', status: 405 },
  { reason: 'target-undecodable', send: lines('PUT /%zz HTTP/1.1', HOST), route: 'malformed', status: 404 },
  {
    reason: 'target-too-long',
    send: lines(`PUT /${'a'.repeat(4200)} HTTP/1.1`, HOST),
    route: 'malformed',
    status: 414,
  },
]

describe('a refusal', () => {
  let workshop: Workshop
  let broker: TestBroker
  /** The sidecar of the current test. */
  let sidecar: SidecarProcess
  const running: SidecarProcess[] = []

  const start = async () => {
    const env = {
      ...loopbackEnv(workshop, broker.url),
      POD2IAM_IMDS_TOKENS: 'required',
      POD2IAM_CONTAINER_TOKEN_FILE: join(workshop.directory, 'secret'),
    }
    sidecar = await startProcess(workshop, env, { ready: true })
    running.push(sidecar)
  }
  before(async () => {
    workshop = await openWorkshop()
    broker = await startBroker()
  })
  after(async () => {
    await Promise.all(running.map(({ end }) => end()))
    await broker?.close()
    workshop?.remove()
  })

  const metrics = async () => (await fetch(`http://127.0.0.1:${sidecar.healthPort}/metrics`)).text()
  const counted = async () =>
    (await metrics()).split('\n').filter((line) => line.startsWith('pod2iam_sidecar_requests_total'))
  const total = async () => (await counted()).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  const refusals = () => sidecar.logs.filter(({ msg }) => msg === 'request refused')

  /** Each reason is logged once a minute, so the second case with the same reason uses another process. */
  const said = new Map<Refusal, number>()
  const processes: SidecarProcess[] = []
  const processFor = async (reason: Refusal) => {
    const turn = said.get(reason) ?? 0
    said.set(reason, turn + 1)
    if (processes[turn] === undefined) {
      await start()
      processes[turn] = sidecar
    }
    sidecar = processes[turn]
  }

  for (const { reason, send: bytes, route, status, others = 0 } of [...BEFORE_THE_APP, ...BY_THE_APP])
    test(`for ${reason} (${JSON.stringify(bytes.slice(0, 40))}) gives one count and one log line with a remedy`, async () => {
      await processFor(reason)
      const [known, before] = [refusals().length, await total()]
      await send(sidecar.port, bytes, { halfClose: true }).catch(() => '')
      await until('it is logged', () => refusals().length > known)
      const sample = `pod2iam_sidecar_requests_total{route="${route}",status="${status}",reason="${reason}"} 1`
      assert.ok((await counted()).includes(sample), await metrics())
      // How many requests of a flood are answered before its end depends on how they arrive.
      if (reason === 'pipelining') assert.ok((await total()) > before + others)
      else assert.equal(await total(), before + others + 1)
      const [line, ...more] = refusals().slice(known)
      assert.deepEqual(more, [])
      assert.deepEqual(
        [line?.level, line?.reason, line?.status, line?.remedy],
        ['warn', reason, status === 'none' ? undefined : status, REFUSALS[reason]],
      )
      assert.doesNotMatch(JSON.stringify(sidecar.logs) + (await metrics()), new RegExp(SECRET))
    })

  test('that is repeated is counted each time and logged once', async () => {
    await start()
    for (let count = 0; count < 5; count++) await send(sidecar.port, 'x\r\n\r\n', { halfClose: true })
    const sample = 'pod2iam_sidecar_requests_total{route="malformed",status="400",reason="malformed"} 5'
    await until('they are counted', async () => (await counted()).includes(sample))
    assert.equal(refusals().length, 1)
  })

  test('of a slow client is a 408 and is logged', async () => {
    await start()
    const socket = connect(sidecar.port, '127.0.0.1').on('error', () => {})
    try {
      socket.write(`${GET}\r\n${HOST}\r\n`)
      const [line] = await until('it is logged', () => (refusals().length > 0 ? refusals() : undefined))
      assert.deepEqual([line?.reason, line?.status], ['too-slow', 408])
      assert.match((await counted()).join(), /route="malformed",status="408",reason="too-slow"} 1$/)
    } finally {
      socket.destroy()
    }
  })

  test('is not counted for a client that disconnects without a request or sends an additional newline', async () => {
    await start()
    for (let count = 0; count < 3; count++) {
      const socket = connect(sidecar.port, '127.0.0.1').on('error', () => {})
      await new Promise((done) => socket.once('connect', done))
      socket.resetAndDestroy()
    }
    const put = lines(PUT, HOST, `${TTL}: 60`, 'Connection: close')
    await send(sidecar.port, `${put}\n`, { halfClose: true })
    assert.deepEqual(await counted(), ['pod2iam_sidecar_requests_total{route="token",status="200"} 1'])
    assert.deepEqual(refusals(), [])
  })

  test('of the body of a request that is already answered gives no second answer and no second count', async () => {
    await start()
    const bytes = `${lines(PUT, HOST, `${TTL}: 60`, 'Transfer-Encoding: chunked')}zz\r\n`
    const text = await send(sidecar.port, bytes, { halfClose: true })
    assert.equal(text.match(/HTTP\/1\.1 /g)?.length, 1, text)
    assert.deepEqual(await counted(), ['pod2iam_sidecar_requests_total{route="token",status="200"} 1'])
  })

  test('of a request for credentials is logged every time', async () => {
    await start()
    for (let count = 0; count < 3; count++)
      assert.equal((await ask(sidecar.port, { path: LIST })).status, 401)
    await until(
      'all are logged',
      () => sidecar.logs.filter(({ reason }) => reason === 'token-missing').length === 3,
    )
    assert.deepEqual(
      sidecar.logs.filter(({ reason }) => reason !== undefined).map(({ level, msg }) => `${level} ${msg}`),
      ['warn request refused', 'info request', 'info request'],
    )
  })
})

test('a reason is logged again after a minute, with the number of refusals that were not logged', () => {
  const clock = fakeClock()
  const { log, lines: said } = captureLog('info')
  const exchanged = exchangeLog(log, clock)
  const refused = (refusal: Refusal) => exchanged({ path: undefined, status: 400, refusal })
  refused('tls')
  for (let count = 0; count < 7; count++) refused('tls')
  refused('http2')
  clock.advanceSync(59_999)
  refused('tls')
  clock.advanceSync(1)
  refused('tls')
  clock.advanceSync(60_000)
  refused('tls')
  assert.deepEqual(
    said.map(({ reason, suppressed }) => [reason, suppressed]),
    [
      ['tls', undefined],
      ['http2', undefined],
      ['tls', 8],
      ['tls', undefined],
    ],
  )
})

test('every remedy is a sentence', () => {
  for (const [reason, remedy] of Object.entries(REFUSALS)) assert.match(remedy, /^[A-Z].*[.?]$/, reason)
})
