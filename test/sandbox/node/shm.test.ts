import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { eventually } from '../../support/until.ts'
import { containerStatus, createSandbox, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import type { PodSpec } from './pod.ts'
import { apply, IMAGES, outputOf, pod, sh, untilTerm, up } from './test-pods.ts'

describe('/dev/shm', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  const run = (name: string, spec: PodSpec) => apply(sandbox, pod(name, spec))
  const list = async (key: string, container: string) =>
    (await sandbox.pods.exec(key, ['ls', '/dev/shm'], { container })).stdout

  test('is a tmpfs with mode 1777 and 64 MiB, even with readOnlyRootFilesystem', async () => {
    const script = `stat -c '%a %u' /dev/shm; touch /dev/shm/x && echo written; awk '$5 == "/dev/shm"' /proc/self/mountinfo`
    const output = await outputOf(sandbox, 'kind', script, {
      container: { securityContext: { readOnlyRootFilesystem: true, runAsUser: 65532 } },
    })
    assert.match(output, /^1777 0\nwritten\n/)
    assert.match(output, / \/ \/dev\/shm rw,nosuid,nodev,noexec\b.* - tmpfs shm rw,size=65536k\b/)
  })

  test('is shared by all containers of a pod, and by no other pod', async () => {
    const key = await run('shared', {
      initContainers: [
        sh('side', untilTerm('touch /dev/shm/side'), { restartPolicy: 'Always' }),
        sh('init', 'touch /dev/shm/init'),
      ],
      containers: [sh('app', untilTerm('touch /dev/shm/app'))],
    })
    await up(sandbox, key, 'side', 'app')
    for (const name of ['side', 'app']) assert.equal(await list(key, name), 'app\ninit\nside\n')
    assert.equal(await outputOf(sandbox, 'other', 'ls -A /dev/shm'), '')
    assert.equal(
      await outputOf(sandbox, 'host-network', 'ls -A /dev/shm', { spec: { hostNetwork: true } }),
      '',
    )
  })

  test('survives the restart of a container, but not that of the pod sandbox', async () => {
    const key = await run('renewed', {
      initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' })],
      containers: [sh('app', untilTerm())],
    })
    await up(sandbox, key, 'side', 'app')
    await sandbox.pods.exec(key, ['touch', '/dev/shm/kept'], { container: 'side' })
    for (const name of ['side', 'app']) sandbox.pods.kill(key, name)
    const restarted = (count: number) => (p: Parameters<typeof isReady>[0]) =>
      isReady(p) && ['side', 'app'].every((name) => containerStatus(p, name)?.restartCount === count)
    await sandbox.pods.waitFor(key, restarted(1))
    for (const name of ['side', 'app']) assert.equal(await list(key, name), 'kept\n')
    await sandbox.pods.restartSandbox(key)
    await sandbox.pods.waitFor(key, restarted(2))
    for (const name of ['side', 'app']) assert.equal(await list(key, name), '')
  })

  test('can be replaced by a volume', async () => {
    const mount = { name: 'memory', mountPath: '/dev/shm' }
    const key = await run('volume', {
      volumes: [{ name: 'memory', emptyDir: { medium: 'Memory' } }],
      initContainers: [sh('init', 'touch /dev/shm/of-the-sandbox')],
      containers: [sh('app', untilTerm('touch /dev/shm/of-the-volume'), { volumeMounts: [mount] })],
    })
    await up(sandbox, key, 'app')
    assert.equal(await list(key, 'app'), 'of-the-volume\n')
  })

  test('is unmounted with its pod', async () => {
    assert.match(await outputOf(sandbox, 'gone', 'echo done'), /done/)
    await sandbox.kube.delete('pods', 'gone', 'default')
    await sandbox.pods.waitFor('gone', (p) => p === undefined)
    // Meanwhile the kubelet may still be ending pods of earlier tests.
    await eventually('no /dev/shm but those of pods', async () => {
      const { stdout } = await sandbox.exec('node', ['cat', '/proc/self/mountinfo'])
      const uids = [...stdout.matchAll(/pods\/([^/]+)\/shm/g)].map(([, uid]) => uid)
      const there = (await sandbox.kube.list('pods')).items.map(({ metadata }) => metadata.uid)
      return uids.every((uid) => there.includes(uid))
    })
  })
})
