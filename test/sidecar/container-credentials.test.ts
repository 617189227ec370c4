/** Container credentials over TCP: their content, which requests are refused, and how their secret changes. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { SPEC } from '../../sidecar/settings.ts'
import { type Sidecar, startSidecar } from '../../sidecar/sidecar.ts'
import { type FakeClock, fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import {
  ask,
  credentialsBody,
  type Exchange,
  json,
  problem,
  ROLE_ARN,
  readyz,
  startBroker,
  type TestBroker,
} from './support/index.ts'

const PATH = '/container-credentials'
const HOST = '127.0.0.1:9169'
const MINUTE = 60_000

describe('container credentials', () => {
  let directory: string
  let broker: TestBroker
  const started: Sidecar[] = []

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'pod2iam-sidecar-'))
    writeFileSync(join(directory, 'token'), 'token')
    broker = await startBroker()
  })
  after(async () => {
    await Promise.all(started.map(({ stop }) => stop()))
    await broker.close()
    rmSync(directory, { recursive: true, force: true })
  })

  async function start({
    clock = fakeClock(),
    stateDir = '',
    argv = [] as string[],
    secretDir = '',
    has = true,
  } = {}) {
    const secretFile = join(secretDir || mkdtempSync(join(directory, 'secret-')), 'token')
    const read = parseSettings(SPEC, {
      argv: [
        `--broker-url=${broker.url}`,
        `--token-file=${join(directory, 'token')}`,
        `--state-dir=${stateDir || mkdtempSync(join(directory, 'state-'))}`,
        ...(has ? [`--container-token-file=${secretFile}`] : []),
        ...['--listen-port=0', '--health-port=0', '--self-test=off', ...argv],
      ],
      env: {},
    })
    assert.ok(read.ok)
    const { log, lines } = captureLog('info')
    const sidecar = await startSidecar(read.settings, { log, role: undefined, random: () => 0, clock })
    started.push(sidecar)
    const secret = () => readFileSync(secretFile, 'utf8')
    const get = (exchange: Exchange = {}, authorization: string | undefined = secret()) =>
      ask(sidecar.metadataPort, {
        ...{ path: PATH, host: HOST, ...exchange },
        headers: { ...(authorization === '' ? {} : { Authorization: authorization }), ...exchange.headers },
      })
    return { ...sidecar, lines, secretFile, secret, get }
  }

  async function ready({ now }: Pick<FakeClock, 'now'>, one: Parameters<typeof start>[0] = {}) {
    broker.credentials = json(credentialsBody({}, now()))
    const sidecar = await start(one)
    await until('it is ready', async () => (await readyz(sidecar.healthPort)).ready)
    return sidecar
  }

  test('have the format that SDKs expect from a container, and are given to requests with the secret', async () => {
    const clock = fakeClock()
    const { get, secret, secretFile, lines } = await ready(clock, { clock, argv: ['--imds-tokens=required'] })
    const { status, headers, body } = await get()
    const { AccessKeyId, SecretAccessKey, Token, Expiration } = credentialsBody({}, clock.now())
    assert.equal(status, 200)
    assert.equal(headers.get('content-type'), 'application/json')
    assert.deepEqual(JSON.parse(body), {
      ...{ AccessKeyId, SecretAccessKey, Token, Expiration },
      ...{ AccountId: '111111111111', RoleArn: ROLE_ARN },
    })
    // Every user of the application may read it. SDKs refuse a line end in a header, so it has none.
    assert.equal(statSync(secretFile).mode & 0o777, 0o444)
    assert.match(secret(), /^[\w-]{54}==$/)
    assert.ok(!JSON.stringify(lines).includes(secret()))
    assert.deepEqual(
      lines.filter(({ path }) => path === PATH).map(({ level, imds }) => [level, imds]),
      [['info', undefined]],
    )
  })

  const refused: readonly [string, Exchange, string | undefined, number, string][] = [
    ['without a secret', {}, '', 401, 'container-token-missing'],
    ['with a wrong secret', {}, `${'A'.repeat(54)}==`, 401, 'container-token-invalid'],
    ['with a bearer token', {}, 'Bearer x', 401, 'container-token-invalid'],
    ['without Host', { host: null, version: '1.0' }, undefined, 403, 'container-host'],
    ['with the metadata address as Host', { host: '169.254.169.254' }, undefined, 403, 'container-host'],
    ['with another name of loopback as Host', { host: 'localhost:9169' }, undefined, 403, 'container-host'],
    ['with two Hosts', { headers: { Host: HOST } }, undefined, 403, 'container-host'],
    [
      'with an absolute target beside another Host',
      { path: `http://${HOST}${PATH}`, host: 'evil.example' },
      undefined,
      403,
      'container-host',
    ],
    [
      'with an absolute target beside an empty Host',
      { path: `http://${HOST}${PATH}`, host: '' },
      undefined,
      403,
      'container-host',
    ],
    [
      'with another absolute target',
      { path: `http://localhost:9169${PATH}` },
      undefined,
      403,
      'container-host',
    ],
    ...['Origin', 'Referer', 'Sec-Fetch-Site', 'Forwarded', 'X-Forwarded-For', 'X-Forwarded-Host', 'Via'].map(
      (name): (typeof refused)[number] => [
        `with the header ${name}`,
        { headers: { [name]: 'x' } },
        undefined,
        403,
        'container-browser',
      ],
    ),
  ]
  test('are refused to browsers, proxies, and requests without the secret or with another Host', async () => {
    const clock = fakeClock()
    const { get, lines } = await ready(clock, { clock })
    for (const [what, exchange, authorization, expected, code] of refused) {
      const { status, body } = await get(exchange, authorization)
      assert.equal(status, expected, what)
      assert.equal(JSON.parse(body).code, code, what)
      assert.match(JSON.parse(body).message, /^[A-Z].*\.$/, what)
      assert.ok(
        lines.some(({ msg, reason }) => msg === 'request refused' && reason === code),
        what,
      )
    }
    const absolute = { path: `http://${HOST}${PATH}` }
    for (const exchange of [absolute, { ...absolute, host: null, version: '1.0' } as const])
      assert.equal(
        (await get(exchange)).status,
        200,
        'an absolute target beside the same Host, or beside none',
      )
    for (const host of ['127.0.0.1#x', `127.0.0.1:9169${PATH}?`, '127.0.0.1:9169/', 'x@127.0.0.1:9169'])
      for (const path of [PATH, `http://${HOST}${PATH}`])
        assert.equal((await get({ host, path })).status, 400, host)
    // This is checked for every path, before anything else.
    assert.equal((await get({ host: 'rebound.example.com' })).status, 403)
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      const { status, headers } = await get({ method })
      assert.deepEqual([status, headers.get('allow')], [405, 'GET, HEAD'], method)
    }
  })

  test('have a secret that is no session token, and a session token is no such secret', async () => {
    const clock = fakeClock()
    const { get, secret, metadataPort } = await ready(clock, { clock, argv: ['--imds-tokens=required'] })
    const ttl = { 'X-aws-ec2-metadata-token-ttl-seconds': '600' }
    const session = await ask(metadataPort, { method: 'PUT', path: '/latest/api/token', headers: ttl })
    assert.equal((await get({}, session.body)).status, 401)
    const headers = { 'X-aws-ec2-metadata-token': secret() }
    assert.equal((await ask(metadataPort, { path: '/latest/meta-data/', headers })).status, 401)
  })

  test('have a new secret every hour, and accept the one before for another hour only', async () => {
    const clock = fakeClock()
    const { get, secret } = await ready(clock, { clock })
    const first = secret()
    clock.advanceSync(61 * MINUTE)
    broker.credentials = json(credentialsBody({}, clock.now()))
    const second = secret()
    assert.notEqual(second, first)
    await until(
      'both are accepted',
      async () => (await get({}, first)).status === 200 && (await get()).status === 200,
    )
    clock.advanceSync(60 * MINUTE)
    assert.notEqual(secret(), second)
    assert.equal((await get({}, first)).status, 401)
    assert.notEqual((await get({}, second)).status, 401)
  })

  test('accept the secret that applications hold after a restart of the sidecar, but not in another pod', async () => {
    const clock = fakeClock()
    const stateDir = mkdtempSync(join(directory, 'state-'))
    const one = await ready(clock, { clock, stateDir })
    const held = one.secret()
    const again = await ready(clock, { clock, stateDir })
    assert.equal((await again.get({}, held)).status, 200)
    const other = await ready(clock, { clock })
    assert.equal((await other.get({}, held)).status, 401)
  })

  test('are replaced by an error message that SDKs show when there are none', async () => {
    for (const [code, status, detail] of [
      ['role-not-allowed', 403, 'Namespace shop does not allow the role.'],
      ['role-not-set', 404, 'This pod has no IAM role.'],
      ['sts-throttled', 503, 'Wait.'],
    ] as const) {
      broker.credentials = problem(code, detail)
      const { get } = await start()
      await until(code, async () => JSON.parse((await get()).body).code === code)
      const answer = await get()
      assert.equal(answer.status, status)
      assert.equal(JSON.parse(answer.body).message, detail)
    }
  })

  test('do not exist in pods without a secret', async () => {
    const clock = fakeClock()
    const { metadataPort } = await ready(clock, { clock, has: false })
    assert.equal((await ask(metadataPort, { path: PATH, host: HOST })).status, 404)
  })

  test('keep the pod from starting, with the reason, while the secret cannot be written', async () => {
    const clock = fakeClock()
    broker.credentials = json(credentialsBody({}, clock.now()))
    const secretDir = join(directory, 'absent')
    const { healthPort, lines, get } = await start({ clock, secretDir })
    const state = await until('it waits for the file', async () => {
      const now = await readyz(healthPort)
      return now.code === 'container-token-pending' && now
    })
    assert.match(String(state.detail), /^The secret .* cannot be written to .*absent\/token \(ENOENT/)
    assert.ok(lines.some(({ level, msg }) => level === 'error' && /cannot be written/.test(String(msg))))
    mkdirSync(secretDir)
    chmodSync(secretDir, 0o777)
    clock.advanceSync(5000)
    await until('it is ready', async () => (await readyz(healthPort)).ready)
    assert.equal((await get()).status, 200)
  })
})
