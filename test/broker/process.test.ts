/** The bundle as a process, as the DaemonSet runs it. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { httpRequest } from '../../common/http-request.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { freePort } from '../support/free-port.ts'
import { eventually } from '../support/until.ts'
import { NODE, World } from './world.ts'

const run = promisify(execFile)
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const children: ChildProcess[] = []
let world: World
let bundle: string

before(async () => {
  world = await World.start()
  bundle = join(world.directory, 'broker.cjs')
  await build({
    entryPoints: [here('../../node-guard/broker/main.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    logLevel: 'error',
  })
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await world.stop()
})

const PORTS = { port: await freePort(), health: await freePort() }

function broker(...argv: string[]) {
  const env = { PATH: process.env.PATH, ...world.aws.environment() }
  const child = spawn(process.execPath, [bundle, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  const output = { out: '', err: '' }
  child.stdout.on('data', (chunk) => {
    output.out += chunk
  })
  child.stderr.on('data', (chunk) => {
    output.err += chunk
  })
  return { child, output }
}
const serving = () =>
  broker(
    ...['--node-name', NODE, '--kubeconfig', world.kubeconfig, '--listen', '127.0.0.77'],
    ...['--port', String(PORTS.port), '--health-port', String(PORTS.health)],
    ...['--state-dir', join(world.directory, 'state')],
  )
const ask = (url: string, options: object = {}) =>
  httpRequest(new URL(url), { timeoutMs: 5000, maxBytes: 1_000_000, ...options })

test('all mistakes in the settings are reported together, with exit code 2', async () => {
  const { child, output } = broker('--listen', 'x', '--sts-qps', 'many')
  assert.deepEqual(await once(child, 'close'), [2, null])
  assert.match(output.err, /--node-name .*required[\s\S]*--listen has "x"|--listen has "x"[\s\S]*--node-name/)
  assert.match(output.err, /--sts-qps must be a whole number/)
})

test('the process ends with exit code 2 when settings contradict each other or no API server is configured', async () => {
  for (const [argv, reason] of [
    [['--cluster-name', 'x'], /--cluster-name has no effect/],
    [[], /KUBERNETES_SERVICE_HOST is not set/],
    [['--kubeconfig', bundle], /neither YAML nor JSON/],
    [['--kubeconfig', '/nowhere'], /kubeconfig \/nowhere cannot be used: .*ENOENT.*--kubeconfig/],
  ] as const) {
    const { child, output } = broker('--node-name', 'n', ...argv)
    assert.deepEqual(await once(child, 'close'), [2, null])
    assert.match(output.err, reason)
  }
})

test('the process serves a pod with the node’s credentials from the metadata service, and ends soon after SIGTERM', async () => {
  await Promise.all([world.role('app'), world.namespace('shop')])
  const pod = await world.pod('shop', 'web', { role: 'app' })
  const { child, output } = serving()
  const health = `http://127.0.0.1:${PORTS.health}`
  await eventually('ready', async () => (await ask(`${health}/readyz`)).status === 200)
  assert.equal((await ask(`${health}/livez`)).status, 200)
  const url = `http://127.0.0.77:${PORTS.port}/v1/credentials`
  const headers = { authorization: `Bearer ${pod.token}` }
  const { status, body } = await ask(url, { localAddress: pod.ip, headers })
  assert.equal(status, 200)
  const { AccessKeyId, SecretAccessKey, Token } = JSON.parse(body)
  const { body: metrics } = await ask(`${health}/metrics`)
  assert.match(metrics, /pod2iam_broker_sts_calls_total\{outcome="success"\} 1/)

  const started = Date.now()
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'close'), [0, null])
  // On an idle machine it takes less than a second. If it waited for a connection, it would take more than this limit.
  assert.ok(Date.now() - started < 30_000)
  for (const secret of [pod.token, AccessKeyId, SecretAccessKey, Token])
    assert.ok(!(output.out + output.err).includes(secret))
  const lines = output.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.ok(
    lines.some(
      ({ msg, pod: name, component }) =>
        msg === 'credentials issued' && name === 'shop/web' && component === 'broker',
    ),
  )
  assert.equal(output.err, '')
})

test('while the API server is away, the process lives, is not ready, and says why over loopback', async () => {
  await world.api.refuse()
  const { child } = serving()
  const health = `http://127.0.0.1:${PORTS.health}`
  const { status, body } = await eventually('answers', () => ask(`${health}/readyz`).catch(() => undefined))
  assert.equal(status, 503)
  assert.equal(JSON.parse(body).code, 'keys-unknown')
  assert.equal((await ask(`${health}/livez`)).status, 200)
  await world.api.accept()
  await eventually('ready', async () => (await ask(`${health}/readyz`)).status === 200, {
    deadlineMs: 20_000,
  })
  child.kill('SIGTERM')
  await once(child, 'close')
})

test('each address that does not exist yet is bound when it appears', needsNamespaces('root'), async () => {
  const { stdout } = await run('unshare', ['--net', process.execPath, here('listen-in-namespace.ts')], {
    timeout: 90_000,
  })
  assert.deepEqual(JSON.parse(stdout), { before: [], after: ['169.254.170.24', 'fd00:70d2:1a::24'] })
})
