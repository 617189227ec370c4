/** The built sidecar as a process: start, readiness, restart, outage, refusal, signals, logs. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { Agent, get } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { buildInfoText } from '../../common/build-info.ts'
import { LIMITS } from '../../sidecar/http/server.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import {
  ask,
  credentialsBody,
  freshToken,
  json,
  loopbackEnv,
  METADATA,
  openWorkshop,
  parseAnswers,
  problem,
  ROLE_ARN,
  readyz,
  requestBytes,
  type SidecarProcess,
  startBroker,
  startProcess,
  type TestBroker,
  type Workshop,
} from './support/index.ts'

const IAM = '/latest/meta-data/iam'
const CREDS = `${IAM}/security-credentials`
const T = 'X-aws-ec2-metadata-token'
/** More than the promised second, for a busy machine, and less than any other reason for an end would take. */
const PROMPTLY_MS = 4000

describe('the sidecar process', () => {
  let workshop: Workshop
  const brokers: TestBroker[] = []
  const processes: SidecarProcess[] = []

  before(async () => {
    workshop = await openWorkshop()
  })
  after(async () => {
    for (const { child } of processes) child.kill('SIGKILL')
    await Promise.all(brokers.map(({ close }) => close()))
    workshop?.remove()
  })

  const newBroker = async (port = 0) => {
    const broker = await startBroker(port)
    brokers.push(broker)
    return broker
  }
  const start = async (env: Record<string, string>, options: { ready?: boolean } = {}) => {
    const started = await startProcess(workshop, env, options)
    processes.push(started)
    return started
  }
  const env = (broker: TestBroker, more: Record<string, string> = {}) => ({
    ...loopbackEnv(workshop, broker.url),
    ...more,
  })

  test('accepts the tokens it issued before a restart', async () => {
    const settings = env(await newBroker(), { POD2IAM_IMDS_TOKENS: 'required' })
    const first = await start(settings, { ready: true })
    const token = await freshToken(first.port)
    await first.end('SIGKILL')
    const second = await start(settings, { ready: true })
    const answer = await ask(second.port, { path: `${CREDS}/reader`, headers: { [T]: token } })
    assert.equal(answer.status, 200)
    await second.end()
  })

  test('refuses the tokens of another pod’s sidecar', async () => {
    const broker = await newBroker()
    const [one, other] = [await start(env(broker)), await start(env(broker))]
    const token = await freshToken(one.port)
    assert.equal((await ask(other.port, { path: '/', headers: { [T]: token } })).status, 401)
    await Promise.all([one.end(), other.end()])
  })

  test('keeps its key in a file that only its user can read', async () => {
    const settings = env(await newBroker())
    const sidecar = await start(settings)
    const files = readdirSync(settings.POD2IAM_STATE_DIR)
    assert.deepEqual(files, ['imds-token-key'])
    const { mode, size } = statSync(join(settings.POD2IAM_STATE_DIR, 'imds-token-key'))
    assert.deepEqual([mode & 0o777, size], [0o600, 32])
    await sidecar.end()
  })

  test('replaces a key file that is broken or that other users could read', async () => {
    const settings = env(await newBroker())
    const file = join(settings.POD2IAM_STATE_DIR, 'imds-token-key')
    for (const content of [Buffer.alloc(32, 7), Buffer.alloc(3)]) {
      writeFileSync(file, content)
      chmodSync(file, content.length === 32 ? 0o644 : 0o600)
      const sidecar = await start(settings)
      assert.notDeepEqual(readFileSync(file), content)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      await sidecar.end()
    }
  })

  test('serves, with a warning, when its state directory cannot be used', async () => {
    const sidecar = await start(env(await newBroker(), { POD2IAM_STATE_DIR: '/proc/nowhere' }), {
      ready: true,
    })
    assert.ok(
      sidecar.logs.some(({ msg, level }) => level === 'warn' && msg.includes('will not outlive a restart')),
    )
    assert.equal(
      (await ask(sidecar.port, { path: '/', headers: { [T]: await freshToken(sidecar.port) } })).status,
      200,
    )
    await sidecar.end()
  })

  test('answers 503 at once and is not ready, with the reason, while the broker is away at its start, and recovers', async () => {
    const gone = await startBroker(await freePort())
    await gone.close()
    const sidecar = await start(env(gone))
    const started = Date.now()
    for (const path of [`${CREDS}/`, CREDS, `${CREDS}/reader`, `${IAM}/info`]) {
      const { status, body } = await ask(sidecar.port, { path })
      assert.deepEqual([status, /503 - Service Unavailable/.test(body)], [503, true], path)
    }
    assert.ok(Date.now() - started < PROMPTLY_MS)
    const waiting = await until('it gives the reason', async () => {
      const state = await readyz(sidecar.healthPort)
      return state.code === 'broker-unreachable' && state
    })
    assert.equal(waiting.status, 503)
    assert.match(waiting.detail ?? '', /Remedy/)
    await newBroker(Number(new URL(gone.url).port))
    await until('it is ready', async () => (await readyz(sidecar.healthPort)).ready)
    assert.equal((await ask(sidecar.port, { path: `${CREDS}/` })).body, 'team/reader')
    await sidecar.end()
  })

  test('answers a refusal as EC2 does, keeps the gate closed, and logs the remedy last', async () => {
    const remedy = 'Role team/reader refuses the node role. Remedy: add it to the trust policy.'
    const broker = await newBroker()
    broker.credentials = problem('sts-denied', remedy)
    const sidecar = await start(env(broker, { POD2IAM_ROLE: '/team/reader' }))
    const state = await until('it was refused', async () => {
      const now = await readyz(sidecar.healthPort)
      return now.code === 'sts-denied' && now
    })
    assert.deepEqual([state.status, state.detail], [503, remedy])
    assert.equal((await ask(sidecar.port, { path: `${CREDS}/` })).body, 'team/reader')
    for (const name of ['reader', 'team/reader', 'team%2Freader']) {
      const answer = await ask(sidecar.port, { path: `${CREDS}/${name}` })
      assert.equal(answer.status, 200)
      const document = JSON.parse(answer.body)
      assert.deepEqual(Object.keys(document), ['Code', 'Message', 'LastUpdated'])
      assert.equal(document.Code, 'AssumeRoleUnauthorizedAccess')
      assert.equal(document.Message, `EC2 cannot assume the role team/reader. ${remedy}`)
    }
    assert.equal((await ask(sidecar.port, { path: `${CREDS}/admin` })).status, 404)
    assert.equal((await ask(sidecar.port, { path: `${IAM}/info` })).status, 404)
    assert.equal(await sidecar.end(), 0)
    assert.equal(sidecar.logs.at(-1)?.msg, `credentials refused: ${remedy}`)
  })

  test('lists a role that is annotated as an ARN by its ARN while it is refused', async () => {
    const broker = await newBroker()
    broker.credentials = problem('role-not-allowed', 'no')
    const sidecar = await start(env(broker, { POD2IAM_ROLE: ROLE_ARN }))
    await until('it was refused', async () => (await readyz(sidecar.healthPort)).code === 'role-not-allowed')
    assert.equal((await ask(sidecar.port, { path: `${CREDS}/` })).body, ROLE_ARN)
    assert.match((await ask(sidecar.port, { path: `${CREDS}/reader` })).body, /AssumeRoleUnauthorizedAccess/)
    await sidecar.end()
  })

  test('answers 404 below iam, and is ready, when the pod has no role', async () => {
    const broker = await newBroker()
    broker.credentials = problem('role-not-set', 'This pod has no role.')
    const sidecar = await start(env(broker), { ready: true })
    for (const path of [IAM, `${CREDS}/`, CREDS, `${CREDS}/reader`, `${IAM}/info`, `${CREDS}-extended/`])
      assert.equal((await ask(sidecar.port, { path })).status, 404, path)
    assert.doesNotMatch((await ask(sidecar.port, { path: '/latest/meta-data/' })).body, /iam/)
    assert.equal((await ask(sidecar.port, { path: '/latest/meta-data/placement/region' })).body, 'eu-west-1')
    await sidecar.end()
  })

  test('is ready without credentials when the startup gate is off', async () => {
    const broker = await newBroker()
    broker.credentials = problem('sts-denied', 'no')
    const sidecar = await start(env(broker, { POD2IAM_STARTUP_GATE: 'off' }), { ready: true })
    await sidecar.end()
  })

  test('keeps its metadata snapshot and its credentials when the broker ends', async () => {
    const broker = await newBroker()
    const sidecar = await start(env(broker), { ready: true })
    await broker.close()
    assert.equal((await ask(sidecar.port, { path: `${CREDS}/reader` })).status, 200)
    assert.equal(
      (await ask(sidecar.port, { path: '/latest/meta-data/instance-id' })).body,
      METADATA['instance-id'],
    )
    assert.ok((await readyz(sidecar.healthPort)).ready)
    await sidecar.end()
  })

  test('serves credentials while the metadata snapshot is refused', async () => {
    const broker = await newBroker()
    broker.metadata = problem('busy', 'later')
    const sidecar = await start(env(broker), { ready: true })
    assert.equal((await ask(sidecar.port, { path: `${CREDS}/reader` })).status, 200)
    assert.equal((await ask(sidecar.port, { path: '/latest/meta-data/' })).body, 'iam/')
    broker.metadata = json(METADATA)
    await until(
      'the snapshot comes',
      async () => (await ask(sidecar.port, { path: '/latest/meta-data/mac' })).status === 200,
    )
    await sidecar.end()
  })

  test('ignores forbidden and invalid values of a snapshot, and prints objects as EC2 does', async () => {
    const broker = await newBroker()
    broker.metadata = json({
      'placement/region': 'eu-west-1',
      'iam/security-credentials/node-role': 'node secret',
      'meta-data/identity-credentials/ec2/security-credentials/ec2-instance': 'node secret',
      'user-data': 'secret',
      'dynamic/instance-identity/rsa2048': 'signature',
      'dynamic/instance-identity/document': { region: 'eu-west-1', 'odd":': 'a": b', billingProducts: null },
      number: 1,
      'with space': 'x',
      '/slashed//key/': 'y',
    })
    const sidecar = await start(env(broker), { ready: true })
    const body = async (path: string) => (await ask(sidecar.port, { path })).body
    assert.equal(await body('/latest/meta-data/'), 'iam/\nplacement/\nslashed/')
    assert.equal(await body('/latest/dynamic/instance-identity/'), 'document')
    assert.equal(await body('/latest/meta-data/slashed/key'), 'y')
    assert.equal(
      await body('/latest/dynamic/instance-identity/document'),
      '{\n  "region" : "eu-west-1",\n  "odd\\":" : "a\\": b",\n  "billingProducts" : null\n}',
    )
    assert.equal((await ask(sidecar.port, { path: '/latest/user-data' })).status, 404)
    assert.equal(await body(`${CREDS}/`), 'team/reader')
    await sidecar.end()
  })

  test('exits with 0 soon after SIGTERM despite open connections, and loses no request', async () => {
    const sidecar = await start(env(await newBroker()), { ready: true })
    const idle = connect(sidecar.port, '127.0.0.1')
    await new Promise<void>((done) => idle.once('connect', done))
    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    const outcomes = { answered: 0, lost: [] as string[] }
    let going = true
    let signalled = Number.POSITIVE_INFINITY
    const client = async () => {
      while (going)
        await new Promise<void>((done) => {
          const asked = Date.now()
          const request = get(
            { port: sidecar.port, host: '127.0.0.1', path: `${CREDS}/reader`, agent },
            (response) => {
              let body = ''
              response.on('data', (data) => {
                body += data
              })
              response.on('end', () => {
                // A client that got this header sends no more requests here: they would need the next sidecar.
                if (response.headers.connection === 'close') going = false
                if (response.statusCode === 200 && body.endsWith('}')) outcomes.answered++
                else outcomes.lost.push(`status ${response.statusCode}`)
                done()
              })
            },
          )
          request.on('error', (error) => {
            // As with any server, a connection that was idle so long is closed. It happens here if this process was delayed.
            const tooLate = request.reusedSocket && asked > signalled + LIMITS.drain
            if (!tooLate) outcomes.lost.push(error.message)
            going = false
            done()
          })
        })
    }
    const clients = Array.from({ length: 8 }, client)
    await until('requests are under way', () => outcomes.answered > 200)
    signalled = Date.now()
    assert.equal(await sidecar.end('SIGTERM'), 0)
    assert.ok(Date.now() - signalled < PROMPTLY_MS)
    await Promise.all(clients)
    agent.destroy()
    idle.destroy()
    assert.deepEqual(outcomes.lost, [])
  })

  test('still answers on keep-alive connections just after SIGTERM, and closes them with the answer', async () => {
    const broker = await newBroker()
    const askWhileStopping = async () => {
      const sidecar = await start(env(broker), { ready: true })
      const socket = connect(sidecar.port, '127.0.0.1')
      let received = ''
      socket.on('error', () => {})
      socket.on('data', (data) => {
        received += data
      })
      socket.write(requestBytes({ path: '/latest' }))
      await until('the first answer', () => received.includes('meta-data'))
      received = ''
      sidecar.child.kill('SIGTERM')
      const { time } = await until('it is stopping', () => sidecar.logs.find(({ msg }) => msg === 'stopping'))
      socket.write(requestBytes({ path: `${CREDS}/` }))
      const late = Date.now() - Date.parse(String(time)) >= LIMITS.drain
      await until('the second answer or the end', () => received !== '' || socket.closed)
      assert.equal(await sidecar.end('SIGTERM'), 0)
      return { received, late }
    }
    let seen = await askWhileStopping()
    // Try again if this process was delayed and sent the request too late.
    for (let round = 1; seen.received === '' && seen.late && round < 10; round++)
      seen = await askWhileStopping()
    const [answer] = parseAnswers(seen.received)
    assert.deepEqual([answer?.body, answer?.headers.get('connection')], ['team/reader', 'close'])
  })

  test('exits with 0 soon after SIGTERM although a client has sent half a request, with the refusal as its last log line', async () => {
    const broker = await newBroker()
    broker.credentials = problem('sts-denied', 'Remedy: trust.')
    const sidecar = await start(env(broker))
    await until('it was refused', async () => (await readyz(sidecar.healthPort)).code === 'sts-denied')
    const socket = connect(sidecar.port, '127.0.0.1')
    socket.on('error', () => {})
    await new Promise<void>((done) => socket.once('connect', done))
    socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n')
    // An answer to another request shows that the earlier bytes were read.
    await ask(sidecar.port, { path: '/' })
    const signalled = Date.now()
    assert.equal(await sidecar.end('SIGTERM'), 0)
    assert.ok(Date.now() - signalled < PROMPTLY_MS)
    assert.equal(sidecar.logs.at(-1)?.msg, 'credentials refused: Remedy: trust.')
    socket.destroy()
  })

  test('answers a request that arrives together with SIGTERM', async () => {
    const sidecar = await start(env(await newBroker()), { ready: true })
    const socket = connect(sidecar.port, '127.0.0.1')
    await new Promise<void>((done) => socket.once('connect', done))
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    sidecar.child.kill('SIGSTOP')
    socket.write(requestBytes({ path: `${CREDS}/` }))
    sidecar.child.kill('SIGTERM')
    sidecar.child.kill('SIGCONT')
    assert.equal(await sidecar.end('SIGCONT'), 0)
    await until('the answer', () => received !== '')
    const [answer] = parseAnswers(received)
    assert.equal(answer?.body, 'team/reader')
  })

  test('logs one line for each credential request, with method, path, status and duration', async () => {
    const sidecar = await start(env(await newBroker()), { ready: true })
    // Log lines of its start may still arrive.
    const requests = () => sidecar.logs.filter(({ msg }) => msg === 'request')
    await ask(sidecar.port, { path: `${CREDS}/?secret=query` })
    await ask(sidecar.port, { path: `${CREDS}/reader`, headers: { [T]: await freshToken(sidecar.port) } })
    await ask(sidecar.port, { method: 'HEAD', path: `${CREDS}/admin` })
    await ask(sidecar.port, { path: '/latest/meta-data/placement/region' })
    await until('three lines', () => requests().length >= 3)
    const lines = requests()
    assert.deepEqual(
      lines.map(({ level, component, msg, method, path, status, imds }) => [
        level,
        component,
        msg,
        method,
        path,
        status,
        imds,
      ]),
      [
        ['info', 'sidecar', 'request', 'GET', CREDS, 200, 'v1'],
        ['info', 'sidecar', 'request', 'GET', `${CREDS}/reader`, 200, 'v2'],
        ['info', 'sidecar', 'request', 'HEAD', `${CREDS}/admin`, 404, 'v1'],
      ],
    )
    for (const { durationMs } of lines)
      assert.ok(typeof durationMs === 'number' && durationMs >= 0 && durationMs < 60_000)
    await sidecar.end()
  })

  test('never logs a key, a token or a query, at any level', async () => {
    const broker = await newBroker()
    const sidecar = await start(env(broker, { POD2IAM_LOG_LEVEL: 'debug' }), { ready: true })
    const session = await freshToken(sidecar.port)
    await ask(sidecar.port, { path: `${CREDS}/reader?x=query-text`, headers: { [T]: session } })
    await ask(sidecar.port, { path: '/latest/meta-data/mac', headers: { [T]: 'wrong-session' } })
    broker.credentials = problem('sts-denied', 'no')
    await sidecar.end()
    const text = JSON.stringify(sidecar.logs)
    for (const secret of [
      ...Object.values(credentialsBody()).slice(1, 4),
      'the.service-account.token',
      session,
      'wrong-session',
      'query-text',
    ])
      assert.ok(!text.includes(secret), secret)
  })

  test('keeps a log entry short and on one line, whatever was requested', async () => {
    const sidecar = await start(env(await newBroker()), { ready: true })
    await ask(sidecar.port, { path: `${CREDS}/${'x'.repeat(3000)}%0A%22%7B` })
    await ask(sidecar.port, { path: `${CREDS}/${'x'.repeat(3000)}` })
    await until('a line', () => sidecar.logs.some(({ status }) => status === 404))
    assert.ok(sidecar.logs.every((line) => JSON.stringify(line).length < 600))
    await sidecar.end()
  })

  test('continues to serve after the reader of its log is gone', async () => {
    const sidecar = await start(env(await newBroker()), { ready: true })
    sidecar.child.stdout?.destroy()
    for (let round = 0; round < 5; round++)
      assert.equal((await ask(sidecar.port, { path: `${CREDS}/reader` })).status, 200)
    assert.equal(await sidecar.end(), 0)
  })

  test('continues to serve while its log pipe is full, and later logs how many lines were lost', async () => {
    const pipe = join(workshop.directory, `log-${process.hrtime.bigint()}`)
    spawnSync('mkfifo', [pipe])
    // Both ends are held open and read only later, as with a container runtime that hangs.
    const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK)
    const child = spawn(process.execPath, [workshop.bundle], {
      env: env(await newBroker(), { POD2IAM_LOG_LEVEL: 'debug' }),
      stdio: ['ignore', fd, 'inherit'],
    })
    const pieces: Buffer[] = []
    const drain = () => {
      const piece = Buffer.alloc(1 << 17)
      try {
        pieces.push(piece.subarray(0, readSync(fd, piece)))
      } catch (error) {
        assert.match(String(error), /EAGAIN/)
      }
      return Buffer.concat(pieces).toString()
    }
    try {
      const port = Number(await until('it listens', () => /"port":(\d+)/.exec(drain())?.[1]))
      const path = `/latest/${'x'.repeat(250)}`
      for (let round = 0; round < 300; round++) assert.equal((await ask(port, { path })).status, 404)
      assert.ok(!drain().includes('were lost'))
      await ask(port, { path })
      const lines = await until('the next line', () => {
        const text = drain()
        return text.includes('were lost') && text.trim().split('\n').slice(-2)
      })
      const [loss, next] = lines.map((line) => JSON.parse(line))
      assert.deepEqual([loss?.level, loss?.component, next?.path], ['warn', 'sidecar', path])
      assert.ok(loss.lost > 10 && loss.lost < 300, `${loss.lost}`)
    } finally {
      child.kill('SIGKILL')
      closeSync(fd)
    }
  })

  test('shows metrics in Prometheus form, without a role or an ARN', async () => {
    const broker = await newBroker()
    const sidecar = await start(env(broker, { POD2IAM_ROLE: ROLE_ARN }), { ready: true })
    await ask(sidecar.port, { path: `${CREDS}/reader` })
    await ask(sidecar.port, { path: `${CREDS}/reader` })
    await ask(sidecar.port, { path: '/%zz' })
    await ask(sidecar.port, { path: '/', headers: { 'X Y': '1' } })
    const response = await fetch(`http://127.0.0.1:${sidecar.healthPort}/metrics`)
    const text = await response.text()
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    const value = (sample: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`pod2iam_sidecar_${sample} `))
          ?.split(' ')
          .at(-1),
      )
    assert.equal(value('requests_total{route="credentials",status="200"}'), 2)
    assert.equal(value('requests_total{route="malformed",status="404",reason="target-undecodable"}'), 1)
    assert.equal(value('requests_total{route="malformed",status="400",reason="malformed"}'), 1)
    assert.equal(value('refreshes_total{outcome="success"}'), 1)
    assert.equal(value('ready'), 1)
    assert.ok(value('credentials_remaining_seconds') > 3500)
    assert.ok(value('last_success_age_seconds') >= 0)
    assert.match(text, /^pod2iam_sidecar_build_info\{version="\d+\.\d+\.\d+"\} 1$/m)
    assert.doesNotMatch(text, /reader|arn:|111111111111/)
    const build = buildInfoText('sidecar')
    assert.ok(text.startsWith(build))
    for (const line of text.slice(build.length).trimEnd().split('\n'))
      assert.match(line, /^(# (HELP|TYPE) pod2iam_sidecar_\w+ .+|pod2iam_sidecar_\w+(\{[^}]*\})? [\d.e+-]+)$/)
    await sidecar.end()
  })

  test('reports all bad settings together, in one sentence each, and exits with 2', () => {
    const bad = {
      POD2IAM_BROKER_URL: 'https://broker/',
      POD2IAM_IMDS_TOKENS: 'maybe',
      POD2IAM_LISTEN_PORT: '70000',
      POD2IAM_SELF_TEST: 'on',
    }
    const { status, stderr } = spawnSync(process.execPath, [workshop.bundle], { env: bad, encoding: 'utf8' })
    assert.equal(status, 2)
    assert.equal(stderr.trim().split('\n').length, 4)
    for (const name of Object.keys(bad)) assert.match(stderr, new RegExp(name))
  })

  test('serves its health on all addresses of both families', async () => {
    const sidecar = await start(env(await newBroker()), { ready: true })
    for (const host of ['127.0.0.1', '[::1]']) {
      const { status } = await fetch(`http://${host}:${sidecar.healthPort}/livez`)
      assert.equal(status, 200, host)
    }
    await sidecar.end()
  })

  test('exits with 1 and the reason when its port is taken', async () => {
    const broker = await newBroker()
    const sidecar = await start(env(broker), { ready: true })
    const { status, stdout } = spawnSync(process.execPath, [workshop.bundle], {
      env: env(broker, { POD2IAM_LISTEN_PORT: String(sidecar.port) }),
      encoding: 'utf8',
    })
    assert.equal(status, 1)
    assert.match(stdout, /"level":"error".*cannot start: listen EADDRINUSE/)
    await sidecar.end()
  })

  test('loads neither undici nor tls, https, http2, crypto or cluster', () => {
    const probe = join(workshop.directory, 'probe.cjs')
    writeFileSync(
      probe,
      `const { get } = require('node:http')
      process.argv.push('--listen-port=0', '--health-port=0', '--self-test=off', '--state-dir=/proc/nowhere')
      const { writeSync } = require('node:fs')
      require('node:fs').writeSync = (fd, line) => {
        const { msg, port } = JSON.parse(line)
        if (msg === 'listening') get({ host: '127.0.0.1', port, path: '/' }, (response) => response.resume().on('end', tell))
      }
      const tell = () => {
        const costly = /undici|http2|NativeModule (_?tls|crypto|https|cluster|child_process|dgram)|worker_threads|perf_hooks/
        writeSync(2, JSON.stringify(process.moduleLoadList.filter((name) => costly.test(name))))
        process.exit(0)
      }
      require(${JSON.stringify(workshop.bundle)})`,
    )
    const { stderr } = spawnSync(process.execPath, [probe], { encoding: 'utf8' })
    assert.deepEqual(JSON.parse(stderr.trim().split('\n').at(-1) ?? ''), [])
  })
})
