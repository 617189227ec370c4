import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import {
  container,
  containerStatus,
  createSandbox,
  isReady,
  needsNamespaces,
  type Sandbox,
} from '../index.ts'
import type { Container, Probe } from './pod.ts'
import { apply, IMAGES, pod, sh, untilTerm } from './test-pods.ts'

/** Listens on 8080; 503 until /open is requested, 200 afterwards; prints the peer of every request. */
const SERVER = `let status = 503
require('http').createServer((q, r) => {
  if (q.url === '/open') status = 200
  if (q.url === '/close') status = 503
  console.log(q.url, q.socket.remoteAddress, q.headers['user-agent'], q.headers['x-probe'])
  r.statusCode = status
  r.end()
}).listen(8080, '::')
process.on('SIGTERM', () => process.exit(0))`

/** Short periods, but enough time for an answer on a busy machine. */
const QUICK = { periodSeconds: 0.05, failureThreshold: 1, timeoutSeconds: 20 }

describe('probes', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({
      images: { ...IMAGES },
      backOff: { base: 20, max: 100, resetAfter: 60_000 },
    })
  })
  after(() => sandbox?.close())

  const server = (probes: Partial<Container>): Container => ({
    name: 'app',
    image: 'node',
    args: [SERVER],
    ports: [{ name: 'web', containerPort: 8080 }],
    ...probes,
  })
  const ask = (key: string, path: string) =>
    sandbox.pods.exec(key, ['curl', '-s', `http://127.0.0.1:8080${path}`])

  test('httpGet connects from the node, and the pod is ready while the answer is 200-399', async () => {
    const probe: Probe = {
      ...QUICK,
      httpGet: { path: '/readyz', port: 'web', httpHeaders: [{ name: 'x-probe', value: 'yes' }] },
    }
    const key = await apply(sandbox, pod('http', { containers: [server({ readinessProbe: probe })] }))
    await sandbox.pods.waitForLog(key, 'app', /^\/readyz ::ffff:10\.0\.0\.10 kube-probe\/\S+ yes$/m)
    // The status changes later than the log.
    const started = container('app', (status) => status.started === true)
    assert.equal(isReady(await sandbox.pods.waitFor(key, started)), false)
    await ask(key, '/open')
    await sandbox.pods.waitFor(key, isReady)
    await ask(key, '/close')
    await sandbox.pods.waitFor(key, (p) => !isReady(p))
    assert.equal(containerStatus(await sandbox.pods.get(key), 'app')?.restartCount, 0)
  })

  test('tcpSocket succeeds when somebody listens', async () => {
    const probe: Probe = { ...QUICK, tcpSocket: { port: 8080 } }
    const key = await apply(sandbox, pod('tcp', { containers: [server({ readinessProbe: probe })] }))
    await sandbox.pods.waitFor(key, isReady)
    const closed: Probe = { ...QUICK, tcpSocket: { port: 8081 } }
    const other = await apply(
      sandbox,
      pod('tcp-closed', { containers: [server({ readinessProbe: closed })] }),
    )
    await sandbox.pods.waitFor(
      other,
      container('app', ({ started }) => started),
    )
    assert.equal(isReady(await sandbox.pods.get(other)), false)
  })

  test('exec runs in the container', async () => {
    const probe: Probe = { ...QUICK, exec: { command: ['test', '-f', '/tmp/ok'] } }
    const key = await apply(
      sandbox,
      pod('exec-probe', { containers: [sh('app', untilTerm(), { readinessProbe: probe })] }),
    )
    await sandbox.pods.waitFor(
      key,
      container('app', ({ started }) => started),
    )
    assert.equal(isReady(await sandbox.pods.get(key)), false)
    await sandbox.pods.exec(key, ['touch', '/tmp/ok'])
    await sandbox.pods.waitFor(key, isReady)
  })

  test('a startupProbe that never succeeds restarts the container', async () => {
    const probe: Probe = { ...QUICK, failureThreshold: 2, exec: { command: ['false'] } }
    const key = await apply(
      sandbox,
      pod('startup', { containers: [sh('app', untilTerm(), { startupProbe: probe })] }),
    )
    const found = await sandbox.pods.waitFor(
      key,
      container('app', ({ restartCount }) => restartCount >= 1),
    )
    assert.equal(isReady(found), false)
  })

  test('a livenessProbe that fails restarts the container', async () => {
    const probe: Probe = { ...QUICK, exec: { command: ['sh', '-c', '! test -f /tmp/broken'] } }
    const key = await apply(
      sandbox,
      pod('liveness', { containers: [sh('app', untilTerm(), { livenessProbe: probe })] }),
    )
    await sandbox.pods.waitFor(key, isReady)
    await sandbox.pods.exec(key, ['touch', '/tmp/broken'])
    await sandbox.pods.waitFor(key, (p) => isReady(p) && containerStatus(p, 'app')?.restartCount === 1)
  })
})
