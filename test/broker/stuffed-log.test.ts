/** The broker's bundle when nobody reads its output: it keeps serving, and later logs how many lines are missing. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { buildComponent } from '../../build.ts'
import { KEYS } from '../../common/keys.ts'
import { freePort } from '../support/free-port.ts'
import { stuffedPipe } from '../support/stuffed-pipe.ts'
import { eventually } from '../support/until.ts'
import { NODE, type TestPod, World } from './world.ts'

const children: ChildProcess[] = []
let world: World
let bundle: string
let good: TestPod
let refused: TestPod

before(async () => {
  world = await World.start()
  bundle = join(world.directory, 'broker.cjs')
  await buildComponent('broker', bundle)
  await world.role('app')
  await world.namespace('shop', undefined, { [KEYS.allowedRoles]: '["app"]' })
  good = await world.pod('shop', 'good', { role: 'app' })
  refused = await world.pod('shop', 'refused', { role: 'other' })
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await world.stop()
})

async function start(stdout: number | 'pipe', stderr: number | 'inherit' = 'inherit') {
  const [port, health] = [await freePort(), await freePort()]
  const argv = [
    ...['--node-name', NODE, '--kubeconfig', world.kubeconfig, '--listen', '127.0.0.1'],
    ...['--port', String(port), '--health-port', String(health)],
    ...['--state-dir', join(world.directory, 'state'), '--log-level', 'debug'],
  ]
  const env = { PATH: process.env.PATH, ...world.aws.environment() }
  const child = spawn(process.execPath, [bundle, ...argv], { env, stdio: ['ignore', stdout, stderr] })
  children.push(child)
  const metrics = async () => (await fetch(`http://127.0.0.1:${health}/metrics`)).text()
  const lost = async (kind: string) =>
    Number(
      new RegExp(`^pod2iam_broker_log_lines_lost_total\\{kind="${kind}"\\} (\\d+)$`, 'm').exec(
        await metrics(),
      )?.[1],
    )
  await eventually('a ready broker', async () => (await fetch(`http://127.0.0.1:${health}/readyz`)).ok)
  const ask = (pod?: TestPod) => {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    request(
      {
        ...{ host: '127.0.0.1', port, agent: false, path: '/v1/credentials' },
        ...(pod ? { localAddress: pod.ip, headers: { authorization: `Bearer ${pod.token}` } } : {}),
      },
      (response) => response.resume().once('end', () => resolve(response.statusCode ?? 0)),
    )
      .once('error', reject)
      .end()
    return promise
  }
  return { child, ask, lost }
}

/** Causes far more debug lines than fit into the memory. */
async function flood(ask: () => Promise<number>) {
  // Fewer at a time than the connections that one address may have.
  for (let round = 0; round < 450; round++) await Promise.all(Array.from({ length: 4 }, () => ask()))
}

test('with a full pipe as standard output the broker becomes ready, serves and refuses', async () => {
  const pipe = stuffedPipe(world.directory)
  try {
    const { child, ask, lost } = await start(pipe.fd, pipe.fd)
    assert.equal(await ask(good), 200)
    assert.equal(await ask(refused), 403)
    await flood(ask)
    assert.equal(await ask(good), 200)
    assert.ok((await lost('debug')) > 100)
    assert.equal(await lost('audit'), 0)
    const lines = await eventually('its lines', () => {
      const text = pipe.drain()
      return text.includes('were lost') && text.endsWith('\n') ? text.trim().split('\n') : undefined
    })
    const parsed = lines.map((line) => JSON.parse(line))
    const audits = parsed.filter(({ audit }) => audit === true)
    assert.deepEqual(
      audits.map(({ msg, pod }) => [msg, pod]),
      [
        ['credentials issued', 'shop/good'],
        ['credentials refused', 'shop/refused'],
      ],
    )
    const losses = parsed.filter(({ msg }) => msg.startsWith('log lines were lost'))
    assert.equal(
      losses.reduce((sum, { lost: count }) => sum + count, 0),
      await lost('debug'),
      'the lines report what was counted',
    )
    assert.ok(
      losses.every(
        ({ level, component, lostAudit }) =>
          level === 'warn' && component === 'broker' && lostAudit === undefined,
      ),
    )
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
  } finally {
    pipe.close()
  }
})

test('with a full pipe the broker ends on SIGTERM with exit code 0', async () => {
  const pipe = stuffedPipe(world.directory)
  try {
    const { child } = await start(pipe.fd, pipe.fd)
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
  } finally {
    pipe.close()
  }
})

test('with a full pipe the broker ends with exit code 2 on a wrong setting', async () => {
  const pipe = stuffedPipe(world.directory)
  try {
    const child = spawn(process.execPath, [bundle, '--port', 'x'], { stdio: ['ignore', pipe.fd, pipe.fd] })
    children.push(child)
    assert.deepEqual(await once(child, 'exit'), [2, null])
  } finally {
    pipe.close()
  }
})

test('with a socket as standard output, which cannot be opened again, the broker keeps serving', async () => {
  const { child, ask, lost } = await start('pipe')
  // Nobody reads yet from this process's end of the socket pair.
  for (let round = 0; round < 20 && !((await lost('debug')) > 0); round++) await flood(ask)
  assert.ok((await lost('debug')) > 0)
  assert.equal(await ask(good), 200)
  let text = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  await eventually('it logs what is missing', () => text.includes('were lost'))
  child.kill('SIGTERM')
  await once(child, 'close')
  for (const line of text.trim().split('\n')) JSON.parse(line)
})

test('the broker keeps serving after the reader of its log is gone', async () => {
  const { child, ask } = await start('pipe')
  child.stdout?.destroy()
  for (let round = 0; round < 5; round++) assert.equal(await ask(good), 200)
  assert.equal(await ask(refused), 403)
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
})
