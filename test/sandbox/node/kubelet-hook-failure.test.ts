import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { until } from '../../support/until.ts'
import {
  container,
  containerStatus,
  createSandbox,
  hasPhase,
  isGone,
  isReady,
  needsNamespaces,
  type Sandbox,
} from '../index.ts'
import type { PodSpec } from './pod.ts'
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

describe('postStart hooks that fail, and pods that end meanwhile', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    const backOff = { base: 20, max: 100, resetAfter: 60_000 }
    sandbox = await createSandbox({ images: { ...IMAGES }, backOff })
  })
  after(() => sandbox?.close())

  const run = (name: string, spec: PodSpec) => apply(sandbox, pod(name, spec))
  const side = { restartPolicy: 'Always' } as const

  /** `type, reason, message, container` of the Events of a pod, once there are enough. */
  const eventsOf = async (key: string, atLeast: number): Promise<string[]> => {
    let events: string[] = []
    const haveCome = async () => {
      const { items } = await sandbox.kube.list('events', { namespace: 'default' })
      events = (items as unknown as Event[])
        .filter(({ involvedObject: { namespace, name } }) => `${namespace}/${name}` === key)
        .map((event) => [event.type, event.reason, event.message, event.involvedObject.fieldPath].join(', '))
      return events.length >= atLeast && events
    }
    return until(`${atLeast} Events of ${key}`, haveCome, { detail: () => events.join('\n') })
  }

  for (const [name, script] of [
    ['fails', 'exit 3'],
    ['is-missing', 'exec /no/such/file'],
  ] as const)
    test(`a sidecar whose hook ${name} is killed and restarted with back-off, even with restartPolicy Never`, async () => {
      const key = await run(name, {
        restartPolicy: 'Never',
        initContainers: [sh('side', untilTerm(), { ...side, ...hook(`[ -e /dev/shm/good ] || ${script}`) })],
        containers: [sh('app', 'true')],
      })
      const found = await sandbox.pods.waitFor(
        key,
        container('side', ({ state, restartCount }) => restartCount >= 2 && 'waiting' in state),
      )
      const status = containerStatus(found, 'side')
      assert.match(JSON.stringify(status?.state), /CrashLoopBackOff/)
      assert.match(JSON.stringify(status?.lastState), /"terminated"/)
      assert.equal(found?.status?.phase, 'Pending')
      assert.ok(!story(sandbox, key, 'container-started').includes('container-started app'))
      const event = 'Warning, FailedPostStartHook, PostStartHook failed, spec.initContainers{side}'
      const events = await eventsOf(key, 2)
      assert.ok(events.length >= 2 && events.every((text) => text === event), events.join('\n'))
    })

  test('a sidecar whose hook failed once lets the pod start after its restart', async () => {
    const key = await run('once', {
      initContainers: [
        sh('side', untilTerm(), {
          ...side,
          ...hook('[ -e /dev/shm/once ] || { touch /dev/shm/once; exit 1; }'),
        }),
      ],
      containers: [sh('app', untilTerm())],
    })
    const found = await sandbox.pods.waitFor(key, isReady)
    assert.equal(containerStatus(found, 'side')?.restartCount, 1)
    assert.deepEqual(story(sandbox, key, 'container-started', 'hook-finished'), [
      'container-started side',
      'hook-finished side 1',
      'container-started side',
      'hook-finished side 0',
      'container-started app',
    ])
  })

  test('a container gets SIGTERM and its grace period when its hook fails, and is not restarted with Never', async () => {
    const fails = hook(`${waitsFor('go')}; exit 1`)
    const key = await run('grace', {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 120,
      containers: [
        sh('app', `trap 'echo terminated; exit 7' TERM; echo up; while :; do sleep 0.02; done`, fails),
      ],
    })
    await inHook(sandbox, key, 'app')
    await releaseHook(sandbox, key, 'app', 'go')
    const found = await sandbox.pods.waitFor(key, hasPhase('Failed'))
    const status = containerStatus(found, 'app')
    assert.match(JSON.stringify(status?.state), /"exitCode":7/)
    assert.equal(status?.restartCount, 0)
    assert.equal(sandbox.pods.logs(key), 'up\nterminated\n')
  })

  test('when a container dies while its hook runs, the hook ends and the container is restarted', async () => {
    const key = await run('dies', {
      initContainers: [sh('side', untilTerm(), { ...side, ...hook(waitsFor('go')) })],
      containers: [sh('app', untilTerm())],
    })
    await inHook(sandbox, key, 'side')
    sandbox.pods.kill(key, 'side')
    await inHook(sandbox, key, 'side', 2)
    await releaseHook(sandbox, key, 'side', 'go')
    const found = await sandbox.pods.waitFor(key, isReady)
    const status = containerStatus(found, 'side')
    assert.equal(status?.restartCount, 1)
    assert.match(JSON.stringify(status?.lastState), /"exitCode":137/)
    assert.deepEqual(story(sandbox, key, 'hook-finished').at(-1), 'hook-finished side 0')
    assert.deepEqual(await eventsOf(key, 1), [
      'Warning, FailedPostStartHook, PostStartHook failed, spec.initContainers{side}',
    ])
  })

  test('a deletion waits until the hook has ended, and nothing is started after that', async () => {
    const key = await run('deleted', {
      initContainers: [
        sh('first', untilTerm(), side),
        sh('side', untilTerm(), { ...side, ...hook(waitsFor('go')) }),
        sh('next', 'true'),
      ],
      containers: [sh('app', 'true')],
    })
    await inHook(sandbox, key, 'side')
    await up(sandbox, key, 'first')
    await sandbox.kube.delete('pods', 'deleted', 'default')
    const events = sandbox.pods.timeline(key)
    await until('the deletion is seen', () => events.some(({ event }) => event === 'deletion-seen'))
    await releaseHook(sandbox, key, 'side', 'go')
    await sandbox.pods.waitFor(key, isGone)
    assert.deepEqual(
      events
        .filter(({ event }) => /started|finished|sig|deletion/.test(event))
        .map(({ event, container, exitCode }) => `${event} ${container ?? ''} ${exitCode ?? ''}`.trim()),
      [
        'container-started first',
        'container-started side',
        'hook-started side',
        'deletion-seen',
        'hook-finished side 0',
        'sigterm side',
        'container-finished side 0',
        'sigterm first',
        'container-finished first 0',
      ],
    )
  })

  test('a deletion while the hook of an app runs also waits for the apps after it, which the same sync starts', async () => {
    const key = await run('deleted-apps', {
      containers: [
        sh('zero', untilTerm()),
        sh('one', untilTerm(), hook(waitsFor('go'))),
        sh('two', untilTerm(), hook('true')),
      ],
    })
    await inHook(sandbox, key, 'one')
    await up(sandbox, key, 'zero')
    await sandbox.kube.delete('pods', 'deleted-apps', 'default')
    const events = sandbox.pods.timeline(key)
    await until('the deletion is seen', () => events.some(({ event }) => event === 'deletion-seen'))
    await releaseHook(sandbox, key, 'one', 'go')
    await sandbox.pods.waitFor(key, isGone)
    const order = events.map(({ event, container }) => `${event} ${container ?? ''}`.trim())
    const two = order.indexOf('hook-finished two')
    assert.ok(order.indexOf('hook-finished one') < order.indexOf('container-started two'), order.join('\n'))
    assert.ok(two > 0 && two < order.findIndex((text) => text.startsWith('sigterm')), order.join('\n'))
  })

  test('a pod that is deleted while a failing hook runs is not restarted', async () => {
    const key = await run('deleted-failing', {
      initContainers: [sh('side', untilTerm(), { ...side, ...hook(`${waitsFor('go')}; exit 1`) })],
      containers: [sh('app', 'true')],
    })
    await inHook(sandbox, key, 'side')
    const events = sandbox.pods.timeline(key)
    await sandbox.kube.delete('pods', 'deleted-failing', 'default')
    await releaseHook(sandbox, key, 'side', 'go')
    await sandbox.pods.waitFor(key, isGone)
    assert.equal(events.filter(({ event }) => event === 'container-started').length, 1)
  })

  test('a sandbox that is closed while a hook runs ends without an error', async () => {
    const own = await createSandbox({ images: { ...IMAGES } })
    const containers = [sh('app', untilTerm(), hook(waitsFor('never')))]
    await inHook(own, await apply(own, pod('closed', { containers })), 'app')
    await own.close()
  })
})

type Event = {
  readonly type: string
  readonly reason: string
  readonly message: string
  readonly involvedObject: { readonly namespace: string; readonly name: string; readonly fieldPath: string }
}
