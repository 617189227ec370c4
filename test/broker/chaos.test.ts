/**
 * API server, STS, IMDS and the broker fail under load and return, alone and together, and signing keys are replaced.
 * Meanwhile fifty pods with real sidecars renew their credentials, and no application may notice. Time is simulated,
 * so that each sidecar renews several times.
 */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseSettings } from '../../common/settings.ts'
import { imdsClient } from '../../node-guard/broker/instance/imds.ts'
import { SPEC } from '../../sidecar/settings.ts'
import { type Sidecar, startSidecar } from '../../sidecar/sidecar.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { silentLog } from '../support/log.ts'
import { eventually } from '../support/until.ts'
import { type Gate, openGate } from './gate.ts'
import { type TestPod, World } from './world.ts'

const PODS = 50
/** Pods that start at once. */
const TOGETHER = 5
/** Simulated time until all pods have started. */
const SPREAD_SECONDS = 300
/** The shortest session that STS allows. */
const SESSION_SECONDS = 900
/** Simulated time per step. A step takes at least {@link STEP_MS}, and longer when the stand-ins need it on a busy machine. */
const STEP_SECONDS = 8
const STEP_MS = 35
/** How long a service is away: about a quarter of the time for which a session is valid beyond its half. */
const AWAY_SECONDS = 120
const DOCUMENT = '/latest/meta-data/iam/security-credentials/app'

type Document = { readonly Code: string; readonly AccessKeyId: string; readonly Expiration: string }

const clock = fakeClock(Date.now())
let world: World
let sts: Gate
let imds: Gate
let brokerPort = 0
const gates: Gate[] = []
const sidecars: Sidecar[] = []
const agent = new Agent({ keepAlive: true })

/** What applications received: good documents, and anything else. */
const seen = { good: 0, bad: [] as string[] }

before(async () => {
  world = await World.start()
  await Promise.all([world.role('app'), world.namespace('shop'), world.guard({ validSeconds: 86_400 })])
  await world.aws.setSts({ clockSkewMinutes: 24 * 60 })
  sts = await gateTo(() => new URL(world.aws.stsUrl))
  imds = await gateTo(() => new URL(world.aws.imdsUrl))
  process.env.AWS_ENDPOINT_URL_STS = `http://127.0.0.1:${sts.port}`
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = `http://127.0.0.1:${imds.port}`
})
after(async () => {
  await Promise.all(sidecars.map((sidecar) => sidecar.stop()))
  agent.destroy()
  await Promise.all(gates.map((gate) => gate.shut()))
  await world.stop()
})

async function gateTo(url: () => { hostname: string; port: string }, localAddress?: string): Promise<Gate> {
  const gate = await openGate(() => {
    const { hostname, port } = url()
    return { host: hostname, port: Number(port), ...(localAddress ? { localAddress } : {}) }
  })
  gates.push(gate)
  return gate
}

/** A broker as after a crash: it has no state. */
async function startBroker(): Promise<{ stop: () => void }> {
  world.deps = { clock, imds: imdsClient(`http://127.0.0.1:${imds.port}`, clock) }
  const broker = await world.brokerNotReady(`--session-duration=${SESSION_SECONDS}`)
  brokerPort = (await eventually('listening', () => broker.addresses()[0])).port
  return broker
}

/** Starts a pod's sidecar, which reaches the broker from the pod's own address. Resolves when its gate would open. */
async function start(pod: TestPod): Promise<number> {
  const way = await gateTo(() => ({ hostname: '127.0.0.1', port: String(brokerPort) }), pod.ip)
  const directory = join(world.directory, pod.name)
  await mkdir(directory)
  await writeFile(join(directory, 'token'), pod.token)
  const env = {
    POD2IAM_BROKER_URL: `http://127.0.0.1:${way.port}`,
    POD2IAM_TOKEN_FILE: join(directory, 'token'),
    POD2IAM_LISTEN_PORT: '0',
    POD2IAM_HEALTH_PORT: '0',
    POD2IAM_SELF_TEST: 'off',
    POD2IAM_STATE_DIR: directory,
  }
  const result = parseSettings(SPEC, { argv: [], env })
  assert.ok(result.ok)
  const sidecar = await startSidecar(result.settings, {
    log: silentLog,
    role: 'app',
    clock: { now: clock.now, monotonic: clock.now, after: clock.after },
  })
  sidecars.push(sidecar)
  await eventually('the gate', async () => (await document(sidecar.metadataPort)).Code === 'Success')
  return sidecar.metadataPort
}

/** Renews a pod's token, as the kubelet does before it expires. */
async function renewToken({ namespace, name, uid }: TestPod): Promise<void> {
  const token = await world.token(namespace, 'default', { name, uid })
  await writeFile(join(world.directory, name, 'token'), token)
}

/** The document that an application gets. @throws on any other answer */
function document(port: number): Promise<Document> {
  const { promise, resolve, reject } = Promise.withResolvers<Document>()
  const outgoing = request(
    {
      host: '127.0.0.1',
      port,
      path: DOCUMENT,
      agent,
      timeout: 120_000,
      headers: { host: '169.254.169.254' },
    },
    async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      if (response.statusCode === 200) resolve(JSON.parse(text))
      else reject(new Error(`status ${response.statusCode}: ${text.slice(0, 200)}`))
    },
  )
  outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')))
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    // RFC 9112 section 9.3.1: an idle connection may be closed at any time, and every client sends the request once more.
    const wasGivenUp = outgoing.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
    if (wasGivenUp) resolve(document(port))
    else reject(error)
  })
  outgoing.end()
  return promise
}

/** An application that requests credentials all the time, until it is stopped. */
async function application(port: number, stopped: () => boolean): Promise<void> {
  while (!stopped()) {
    await sleep(400)
    try {
      const { Code, Expiration } = await document(port)
      if (Code !== 'Success') seen.bad.push(Code)
      else if (Date.parse(Expiration) <= clock.now()) seen.bad.push(`expired ${Expiration}`)
      else seen.good++
    } catch (error) {
      seen.bad.push(String(error))
    }
  }
}

test('fifty pods keep their credentials while every service that these come from is killed and restored', async () => {
  let stopped = false
  /** Advances time, here and at AWS, never faster than AWS answers: a busy machine makes time slow, not answers late. */
  const driven = (async () => {
    while (!stopped) {
      await sleep(STEP_MS)
      await clock.advance(STEP_SECONDS * 1000)
      await world.aws.setClockOffset(clock.now() - Date.now())
    }
  })()
  /** Lets simulated time pass, at most until `isEnough`, and returns its last value. */
  const pass = async (seconds: number, isEnough = async () => false) => {
    const end = clock.now() + seconds * 1000
    while (clock.now() < end) {
      if (await isEnough()) return true
      // If time stops because AWS does not answer, that is an error, not a reason to wait.
      await Promise.race([driven, sleep(STEP_MS)])
    }
    return isEnough()
  }
  let broker = await startBroker()
  const applications: Promise<void>[] = []
  const pods: { readonly pod: TestPod; readonly port: number }[] = []
  try {
    // Spread over a renewal's period, so that some renew at any time.
    for (let index = 0; index < PODS; index += TOGETHER) {
      const batch = Array.from({ length: TOGETHER }, async (_, offset) => {
        const pod = await world.pod('shop', `pod-${index + offset}`, { role: 'app' })
        const port = await start(pod)
        pods.push({ pod, port })
        applications.push(application(port, () => stopped))
      })
      await Promise.all(batch)
      await pass(SPREAD_SECONDS / (PODS / TOGETHER))
    }

    const away: Record<string, readonly [kill: () => unknown, restore: () => unknown]> = {
      sts: [sts.shut, sts.open],
      imds: [imds.shut, imds.open],
      api: [() => world.api.refuse(), () => world.api.accept()],
      // Signed with a new key from now on, and the old one is not published any more.
      keys: [
        () => world.api.rotateKeys(),
        async () => {
          await Promise.all(pods.map(({ pod }) => renewToken(pod)))
          await world.api.dropOldKeys()
          await world.renewBrokerToken()
        },
      ],
      broker: [
        () => broker.stop(),
        async () => {
          broker = await startBroker()
        },
      ],
    }
    const names = Object.keys(away)
    for (const together of [...names.map((name) => [name]), names]) {
      for (const name of together) await away[name]?.[0]()
      await pass(AWAY_SECONDS)
      // The broker is restored first, when everything it needs is still away.
      for (const name of together.toReversed()) await away[name]?.[1]()
      await pass(AWAY_SECONDS / 2)
    }

    // Recovery: each pod gets new credentials of its own.
    const restored = clock.now()
    await world.aws.clearRecords()
    const areRenewed = async () => {
      const documents = await Promise.all(pods.map(({ port }) => document(port)))
      return documents.every(({ Expiration }) => Date.parse(Expiration) > restored + SESSION_SECONDS * 1000)
    }
    // A sidecar renews at half of its session's time, and half of the new session's time may have passed, too.
    assert.ok(await pass(2 * SESSION_SECONDS, areRenewed), 'not all were renewed')
    const sessions = (clock.now() - restored) / (SESSION_SECONDS * 1000)
    const issued = new Map((await world.aws.sessions()).map(({ accessKeyId, arn }) => [accessKeyId, arn]))
    for (const { pod, port } of pods) {
      const arn = issued.get((await document(port)).AccessKeyId)
      assert.ok(arn?.endsWith(`:assumed-role/app/shop.${pod.name}`), `${pod.name} holds ${arn}`)
    }
    const calls = (await world.aws.calls({})).filter(({ action }) => action === 'AssumeRole')
    // One call for each pod to recover, and two to three per lifetime of a session, as in normal operation.
    const most = PODS * (1 + 3 * sessions)
    assert.ok(calls.length <= most, `${calls.length} calls for ${PODS} pods to recover, of ${most}`)
  } finally {
    stopped = true
    await Promise.all([driven, ...applications])
  }
  assert.deepEqual([...new Set(seen.bad)], [])
  assert.ok(seen.good > PODS * 10, `${seen.good} requests`)
})
