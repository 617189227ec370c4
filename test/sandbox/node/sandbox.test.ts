import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createLoopbackSandbox, createSandbox, isReady, needsNamespaces } from '../index.ts'
import { apply, IMAGES, pod, sh, untilTerm } from './test-pods.ts'

test(
  'two sandboxes at the same time have the same addresses and are independent',
  needsNamespaces(),
  async () => {
    const sandboxes = await Promise.all([
      createSandbox({ images: { ...IMAGES } }),
      createSandbox({ images: { ...IMAGES } }),
    ])
    try {
      const containers = [sh('app', untilTerm('curl -s http://169.254.169.254/latest/meta-data/instance-id'))]
      const [a, b] = sandboxes
      await apply(a, pod('same', { containers }))
      await a.pods.waitFor('same', isReady)
      await a.pods.waitForLog('same', 'app', /i-0/)
      assert.equal(await b.pods.get('same'), undefined)
      assert.equal((await b.aws.imdsRequests()).length, 0)
      await apply(b, pod('same', { containers }))
      const again = await b.pods.waitFor('same', isReady)
      assert.equal(again?.status?.podIP, (await a.pods.get('same'))?.status?.podIP)
    } finally {
      await Promise.all(sandboxes.map((sandbox) => sandbox.close()))
    }
  },
)

test('a sandbox that is closed while pods run ends without an error', needsNamespaces(), async () => {
  const sandbox = await createSandbox({ images: { ...IMAGES } })
  const initContainers = [sh('side', untilTerm(), { restartPolicy: 'Always' })]
  await apply(sandbox, pod('running', { initContainers, containers: [sh('app', 'exit 1')] }))
  await sandbox.pods.waitFor('running', (p) => (p?.status?.containerStatuses?.[0]?.restartCount ?? 0) > 0)
  await sandbox.close()
  await sandbox.close()
})

const AS_USER = `
import { createSandbox, isReady } from ${JSON.stringify(fileURLToPath(new URL('../index.ts', import.meta.url)))}
const sandbox = await createSandbox({ images: { sh: { command: ['/bin/sh', '-c'] } } })
await sandbox.kube.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'default' }, spec: { containers: [
  { name: 'app', image: 'sh', args: ['id -u; curl -s http://169.254.169.254/latest/meta-data/instance-id; exec sleep 1000'] }] } })
await sandbox.pods.waitFor('p', isReady)
await sandbox.pods.waitForLog('p', 'app', /0\\ni-/)
console.log(sandbox.kind, sandbox.limits.length)
await sandbox.close()
`

test(
  'without root a sandbox works in a user namespace, and says what differs',
  needsNamespaces('root'),
  (context) => {
    const user = ['--reuid=65534', '--regid=65534', '--clear-groups', '--']
    const allowed = spawnSync('setpriv', [...user, 'unshare', '-Urnm', 'true'])
    if (allowed.status !== 0) return context.skip('this machine does not allow user namespaces without root')
    const args = ['--input-type=module-typescript', '--no-warnings', '-e', AS_USER]
    const { stdout, stderr } = spawnSync('setpriv', [...user, process.execPath, ...args], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: '/' },
      timeout: 120_000,
    })
    assert.equal(stdout, 'userns 1\n', stderr)
  },
)

test('the loopback sandbox serves AWS and the API server on this machine, without namespaces', async () => {
  const sandbox = await createLoopbackSandbox()
  try {
    const { hostname } = new URL(sandbox.aws.imdsUrl)
    assert.equal(hostname, '127.0.0.1')
    const answer = await fetch(`${sandbox.aws.imdsUrl}latest/meta-data/instance-id`)
    assert.match(await answer.text(), /^i-/)
    assert.equal(
      (await sandbox.kube.list('namespaces')).items.some(({ metadata }) => metadata.name === 'default'),
      true,
    )
  } finally {
    await sandbox.close()
  }
})
