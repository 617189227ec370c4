import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { containerStatus, createSandbox, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import type { Lifecycle, PodSpec } from './pod.ts'
import {
  apply,
  hook,
  IMAGES,
  inHook,
  pod,
  releaseHook,
  sh,
  story,
  untilTerm,
  up,
  waitsFor,
} from './test-pods.ts'

describe('postStart hooks', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  const run = (name: string, spec: PodSpec) => apply(sandbox, pod(name, spec))
  const side = { restartPolicy: 'Always' } as const

  test('delay everything else of a pod until they have ended', async () => {
    const key = await run('order', {
      initContainers: [sh('side', untilTerm(), { ...side, ...hook(waitsFor('go')) }), sh('next', 'true')],
      containers: [sh('one', untilTerm(), hook(waitsFor('one'))), sh('two', untilTerm())],
    })
    await inHook(sandbox, key, 'side')
    await releaseHook(sandbox, key, 'side', 'go')
    await inHook(sandbox, key, 'one')
    await releaseHook(sandbox, key, 'one', 'one')
    await sandbox.pods.waitFor(key, isReady)
    const events = ['container-started', 'container-finished', 'hook-started', 'hook-finished'] as const
    assert.deepEqual(story(sandbox, key, ...events), [
      'container-started side',
      'hook-started side',
      'hook-finished side 0',
      'container-started next',
      'container-finished next 0',
      'container-started one',
      'hook-started one',
      'hook-finished one 0',
      'container-started two',
    ])
  })

  test('delay the restart of another container until they have ended', async () => {
    const key = await run('restart', {
      initContainers: [
        sh('first', untilTerm(), side),
        sh('side', untilTerm(), { ...side, ...hook(waitsFor('go')) }),
      ],
      containers: [sh('app', untilTerm())],
    })
    await inHook(sandbox, key, 'side')
    await up(sandbox, key, 'first')
    sandbox.pods.kill(key, 'first')
    await releaseHook(sandbox, key, 'side', 'go')
    await sandbox.pods.waitFor(key, (p) => isReady(p) && containerStatus(p, 'first')?.restartCount === 1)
    const events = story(sandbox, key, 'container-started', 'hook-finished')
    assert.deepEqual(events.slice(0, 3), [
      'container-started first',
      'container-started side',
      'hook-finished side 0',
    ])
    assert.deepEqual(events.slice(3).sort(), ['container-started app', 'container-started first'])
  })

  test('delay changes of the status in the API, which has no addresses until then', async () => {
    const key = await run('status', {
      initContainers: [sh('side', untilTerm(), { ...side, ...hook(waitsFor('go')) })],
      containers: [sh('one', untilTerm()), sh('two', untilTerm(), hook(waitsFor('two')))],
    })
    await inHook(sandbox, key, 'side')
    const during = await sandbox.pods.get(key)
    for (const name of ['side', 'one'])
      assert.deepEqual(containerStatus(during, name)?.state, { waiting: { reason: 'PodInitializing' } })
    assert.equal(during?.status?.podIP, undefined)
    assert.equal(during?.status?.podIPs, undefined)
    await releaseHook(sandbox, key, 'side', 'go')
    await inHook(sandbox, key, 'two')
    // Apps are started by one sync, so the start of the first one is reported after the hook of the second.
    const later = await sandbox.pods.get(key)
    assert.equal(later?.status?.podIPs?.length, 2)
    assert.ok('waiting' in (containerStatus(later, 'one')?.state ?? {}))
    await releaseHook(sandbox, key, 'two', 'two')
    await sandbox.pods.waitFor(key, isReady)
  })

  test('delay the report of the addresses of a new pod sandbox', async () => {
    const key = await run('again', {
      initContainers: [sh('side', untilTerm(), { ...side, ...hook(waitsFor('go')) })],
      containers: [sh('app', untilTerm())],
    })
    await inHook(sandbox, key, 'side')
    await releaseHook(sandbox, key, 'side', 'go')
    const first = await sandbox.pods.waitFor(key, isReady)
    await sandbox.pods.restartSandbox(key)
    await inHook(sandbox, key, 'side', 2)
    assert.equal((await sandbox.pods.get(key))?.status?.podIP, first?.status?.podIP)
    await releaseHook(sandbox, key, 'side', 'go')
    await sandbox.pods.waitFor(key, (p) => isReady(p) && p?.status?.podIP !== first?.status?.podIP)
  })

  test('delay the first probe until they have ended', async () => {
    const startupProbe = {
      exec: { command: ['touch', '/dev/shm/probed'] },
      periodSeconds: 1,
    }
    const key = await run('probes', {
      initContainers: [
        sh('side', untilTerm(), {
          ...side,
          startupProbe,
          ...hook(`${waitsFor('go')}; ls /dev/shm >/dev/shm/seen`),
        }),
      ],
      containers: [sh('app', untilTerm())],
    })
    await inHook(sandbox, key, 'side')
    await releaseHook(sandbox, key, 'side', 'go')
    await sandbox.pods.waitFor(key, isReady)
    const { stdout } = await sandbox.pods.exec(key, ['sh', '-c', 'cat /dev/shm/seen; echo; ls /dev/shm'])
    assert.equal(stdout, 'go\nseen\n\ngo\nprobed\nseen\n')
  })

  test('have their container’s files, environment, user, directory, network, processes and IPC', async () => {
    const facts =
      'for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done; id; pwd; echo "$OWN"; cat /proc/1/comm; grep Cap /proc/self/status'
    const key = await run('context', {
      containers: [
        sh('app', untilTerm(`(${facts}) >/dev/shm/container`), {
          env: [{ name: 'OWN', value: 'its own' }],
          workingDir: '/var/log',
          securityContext: { runAsUser: 65532, capabilities: { drop: ['ALL'] } },
          ...hook(`(${facts}) >/dev/shm/hook; echo '$(OWN)' >/dev/shm/literal`),
        }),
      ],
    })
    await sandbox.pods.waitFor(key, isReady)
    await up(sandbox, key, 'app')
    const read = async (name: string) => (await sandbox.pods.exec(key, ['cat', `/dev/shm/${name}`])).stdout
    assert.match(await read('container'), /\n\/var\/log\nits own\nsh\n/)
    assert.equal(await read('hook'), await read('container'))
    assert.equal(await read('literal'), '$(OWN)\n')
  })

  test('can be a file of the image', async () => {
    sandbox.node.images.filed = {
      command: ['/bin/sh', '-c'],
      files: { '/image/hook': '/bin/true', '/image/no': '/no' },
    }
    const exec = { command: ['/image/hook'] }
    const containers = [
      sh('app', untilTerm('ls /image'), { image: 'filed', lifecycle: { postStart: { exec } } }),
    ]
    const key = await run('filed', { containers })
    await sandbox.pods.waitFor(key, isReady)
    await up(sandbox, key, 'app')
    assert.equal(sandbox.pods.logs(key), 'hook\nup\n')
  })

  for (const [name, lifecycle, sentence] of [
    ['sleep', { postStart: { sleep: { seconds: 1 } } }, /runs postStart hooks by exec, not by sleep/],
    ['http', { postStart: { httpGet: { port: 80 } } }, /runs postStart hooks by exec, not by httpGet/],
    ['pre-stop', { preStop: { exec: { command: ['true'] } } }, /does not know lifecycle\.preStop/],
  ] as const satisfies readonly (readonly [string, Lifecycle, RegExp])[])
    test(`are refused with a sentence if the stand-in does not support them: ${name}`, async () => {
      const key = await run(`refused-${name}`, { containers: [sh('app', 'true', { lifecycle })] })
      const found = await sandbox.pods.waitFor(key, (p) =>
        JSON.stringify(containerStatus(p, 'app')?.state ?? '').includes('CreateContainerConfigError'),
      )
      assert.match(JSON.stringify(containerStatus(found, 'app')?.state), sentence)
    })
})
