/** The whole sidecar in this process. The test controls the clock and what the metadata address leads to. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import type { Probe } from '../../sidecar/health/self-test.ts'
import { SPEC } from '../../sidecar/settings.ts'
import { type Sidecar, startSidecar } from '../../sidecar/sidecar.ts'
import { type FakeClock, fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import {
  ask,
  credentialsBody,
  json,
  METADATA,
  problem,
  readyz,
  startBroker,
  type TestBroker,
} from './support/index.ts'

const CREDS = '/latest/meta-data/iam/security-credentials'
const MINUTE = 60_000

describe('the sidecar', () => {
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

  async function start(parts: { clock?: FakeClock; probe?: Probe; argv?: string[] } = {}) {
    const argv = [
      `--broker-url=${broker.url}`,
      `--token-file=${join(directory, 'token')}`,
      `--state-dir=${mkdtempSync(join(directory, 'state-'))}`,
    ]
    const ports = ['--listen-port=0', '--health-port=0', ...(parts.argv ?? ['--self-test=off'])]
    const read = parseSettings(SPEC, { argv: [...argv, ...ports], env: {} })
    assert.ok(read.ok)
    const { log, lines: logs } = captureLog('info')
    const { clock, probe } = parts
    const sidecar = await startSidecar(read.settings, {
      log,
      role: undefined,
      random: () => 0,
      ...(clock ? { clock } : {}),
      ...(probe ? { probe } : {}),
    })
    started.push(sidecar)
    return { ...sidecar, logs }
  }

  test('serves the new document after a refresh, and the old one until then', async () => {
    const clock = fakeClock()
    const issue = (id: string) => {
      broker.credentials = json(credentialsBody({ AccessKeyId: id }, clock.now()))
    }
    issue('ASIAONE')
    const { metadataPort, healthPort } = await start({ clock })
    await until('it is ready', async () => (await readyz(healthPort)).ready)
    const keyId = async () =>
      JSON.parse((await ask(metadataPort, { path: `${CREDS}/reader` })).body).AccessKeyId
    issue('ASIATWO')
    clock.advanceSync(29 * MINUTE)
    assert.equal(await keyId(), 'ASIAONE')
    clock.advanceSync(2 * MINUTE)
    await until('the new document', async () => (await keyId()) === 'ASIATWO')
  })

  test('answers 503 and is not ready once the credentials are valid for less than a minute', async () => {
    const clock = fakeClock()
    broker.credentials = json(credentialsBody({}, clock.now()))
    const { metadataPort, healthPort } = await start({ clock })
    await until('it is ready', async () => (await readyz(healthPort)).ready)
    broker.credentials = problem('sts-unavailable', 'STS is away.')
    const last = () => ask(metadataPort, { path: `${CREDS}/reader` })
    for (let minute = 1; minute <= 58; minute++) {
      clock.advanceSync(MINUTE)
      assert.equal((await last()).status, 200, `minute ${minute}`)
    }
    clock.advanceSync(MINUTE + 1)
    assert.equal((await last()).status, 503)
    assert.equal((await ask(metadataPort, { path: `${CREDS}/` })).status, 503)
    assert.equal((await readyz(healthPort)).status, 503)
  })

  test('adjusts the expiration for applications when the clock was set back, since SDKs use that clock', async () => {
    const clock = fakeClock()
    broker.credentials = json(credentialsBody({}, clock.now()))
    const { metadataPort, healthPort } = await start({ clock })
    await until('it is ready', async () => (await readyz(healthPort)).ready)
    clock.advanceSync(10 * MINUTE)
    clock.set(-120 * MINUTE)
    const { body } = await ask(metadataPort, { path: `${CREDS}/reader` })
    const left = Date.parse(JSON.parse(body).Expiration) - clock.now()
    assert.ok(left > 49 * MINUTE && left <= 50 * MINUTE, `${left / MINUTE} minutes`)
  })

  test('refreshes the metadata snapshot as often as the broker says', async () => {
    const clock = fakeClock()
    broker.credentials = json(credentialsBody({}, clock.now()))
    broker.metadata = json(METADATA, { 'Cache-Control': 'max-age=60' })
    const { metadataPort } = await start({ clock })
    const leaf = async () =>
      (await ask(metadataPort, { path: '/latest/meta-data/spot/instance-action' })).status
    await until(
      'the first snapshot',
      async () => (await ask(metadataPort, { path: '/latest/meta-data/mac' })).status === 200,
    )
    assert.equal(await leaf(), 404)
    broker.metadata = json({ ...METADATA, 'spot/instance-action': '{"action": "terminate"}' })
    clock.advanceSync(61_000)
    await until('the second snapshot', async () => (await leaf()) === 200)
    broker.metadata = json(METADATA)
    clock.advanceSync(301_000)
    await until('the third snapshot', async () => (await leaf()) === 404)
  })

  test('is not ready until the metadata address leads to itself', async () => {
    const clock = fakeClock()
    broker.credentials = json(credentialsBody({}, clock.now()))
    let redirected = false
    const probed: string[] = []
    const { metadataPort, healthPort, logs } = await start({
      argv: [],
      clock,
      probe: async (address, path) => {
        probed.push(address)
        // As with the gate's redirect, the metadata address leads to our port.
        return redirected
          ? (await ask(metadataPort, { path, host: address })).body
          : Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
      },
    })
    await until('credentials are there', () => logs.some(({ msg }) => msg === 'credentials obtained'))
    const time = () => clock.advanceSync(10)
    await until('it tried several times', () => {
      time()
      return probed.length > 3
    })
    const waiting = await readyz(healthPort)
    assert.deepEqual([waiting.status, waiting.code], [503, 'self-test-pending'])
    redirected = true
    await until('it is ready', async () => {
      time()
      return (await readyz(healthPort)).ready
    })
    assert.deepEqual([...new Set(probed)], ['169.254.169.254'])
    const tries = probed.length
    assert.ok(logs.some(({ msg }) => msg.startsWith('self-test passed')))
    // Several exchanges: each gives an attempt that is under way the time to end and to plan the next one.
    for (let exchange = 0; exchange < 10; exchange++) {
      clock.advanceSync(10_000)
      await readyz(healthPort)
    }
    assert.equal(probed.length, tries, 'it asks no more once it has passed')
  })

  for (const [what, answer] of Object.entries({
    'the real service answers 404': async () => '404 - Not Found',
    'a server echoes the path': async (_address: string, path: string) => path,
    'a server echoes the last part of the path': async (_address: string, path: string) =>
      path.slice(path.lastIndexOf('/') + 1),
  }))
    test(`stays not ready when ${what}`, async () => {
      let tries = 0
      const { healthPort } = await start({
        argv: [],
        probe: (address, path) => {
          tries++
          return answer(address, path)
        },
      })
      await until('it tried several times', () => tries > 5)
      assert.equal((await readyz(healthPort)).code, 'self-test-pending')
    })

  test('tests the IPv6 address in a pod without a route to the IPv4 one', async () => {
    broker.credentials = json(credentialsBody())
    const sidecar = await start({
      argv: [],
      probe: async (address, path) => {
        if (!address.includes(':')) throw Object.assign(new Error('no route'), { code: 'ENETUNREACH' })
        return (await ask(ready.port, { path, host: `[${address}]` })).body
      },
    })
    const ready = { port: sidecar.metadataPort }
    await until('it is ready', async () => (await readyz(sidecar.healthPort)).ready)
  })

  test('answers only its exact self-test path, and no longer after the test has passed', async () => {
    let path = ''
    let port = 0
    const sidecar = await start({
      argv: [],
      probe: async (_address, asked) => {
        path = asked
        return port === 0 ? '' : (await ask(port, { path: asked })).body
      },
    })
    await until('it tried', () => path !== '')
    assert.match(path, /^\/latest\/meta-data\/[0-9a-f]{32}$/)
    assert.equal((await ask(sidecar.metadataPort, { path: `${path.slice(0, -1)}` })).status, 404)
    port = sidecar.metadataPort
    await until('it passed', () => sidecar.logs.some(({ msg }) => msg.startsWith('self-test passed')))
    assert.equal((await ask(sidecar.metadataPort, { path })).status, 404)
  })

  test('shows the reason of a refusal to loopback peers on the health port', async () => {
    broker.credentials = problem('role-not-allowed', 'Namespace shop may not use role x. Remedy: ask.')
    const { healthPort } = await start()
    const state = await until('it was refused', async () => {
      const now = await readyz(healthPort)
      return now.code === 'role-not-allowed' && now
    })
    assert.match(state.detail ?? '', /Remedy/)
  })
})
