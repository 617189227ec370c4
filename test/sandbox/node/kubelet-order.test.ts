import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createSandbox, hasPhase, isGone, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import { apply, IMAGES, pod, sh, untilTerm, up } from './test-pods.ts'
import type { TimelineEvent } from './timeline.ts'

describe('the order in which a pod starts and stops', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  /** `event container` of the named events. */
  const story = (key: string, ...events: TimelineEvent['event'][]) =>
    sandbox.pods
      .timeline(key)
      .filter(({ event }) => events.includes(event))
      .map(({ event, container }) => `${event} ${container}`)

  test('init containers run one after the other, each to its end, before the app', async () => {
    const key = await apply(
      sandbox,
      pod('init-order', {
        initContainers: [sh('one', 'sleep 0.05'), sh('two', 'true')],
        containers: [sh('app', untilTerm())],
      }),
    )
    await sandbox.pods.waitFor(key, isReady)
    assert.deepEqual(story(key, 'container-started', 'container-finished'), [
      'container-started one',
      'container-finished one',
      'container-started two',
      'container-finished two',
      'container-started app',
    ])
  })

  test('a native sidecar without startupProbe lets the next container start as soon as it runs', async () => {
    const key = await apply(
      sandbox,
      pod('sidecar', {
        initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' }), sh('next', 'true')],
        containers: [sh('app', untilTerm())],
      }),
    )
    const found = await sandbox.pods.waitFor(key, isReady)
    assert.deepEqual(story(key, 'container-started', 'container-finished'), [
      'container-started side',
      'container-started next',
      'container-finished next',
      'container-started app',
    ])
    const [side, next] = found?.status?.initContainerStatuses ?? []
    assert.ok(side !== undefined && 'running' in side.state && side.started && side.ready)
    assert.ok(next !== undefined && 'terminated' in next.state && next.ready)
  })

  test('the startupProbe of a sidecar delays the next containers until it succeeds', async () => {
    const side = sh('side', untilTerm('sleep 0.3; touch /tmp/ready'), {
      restartPolicy: 'Always',
      startupProbe: {
        exec: { command: ['test', '-f', '/tmp/ready'] },
        periodSeconds: 0.05,
        failureThreshold: 100,
      },
    })
    const key = await apply(
      sandbox,
      pod('probed-sidecar', { initContainers: [side], containers: [sh('app', untilTerm())] }),
    )
    await sandbox.pods.waitFor(key, isReady)
    assert.deepEqual(story(key, 'container-started', 'startup-probe-succeeded'), [
      'container-started side',
      'startup-probe-succeeded side',
      'container-started app',
    ])
  })

  test('while an init container runs the pod is Pending and its app waits in PodInitializing', async () => {
    const key = await apply(
      sandbox,
      pod('pending', { initContainers: [sh('gate', untilTerm())], containers: [sh('app', 'true')] }),
    )
    const found = await sandbox.pods.waitFor(key, (p) => {
      const [gate] = p?.status?.initContainerStatuses ?? []
      return gate !== undefined && 'running' in gate.state
    })
    assert.equal(found?.status?.phase, 'Pending')
    assert.deepEqual(found?.status?.containerStatuses?.[0]?.state, { waiting: { reason: 'PodInitializing' } })
    assert.equal(found?.status?.initContainerStatuses?.[0]?.ready, false)
    const initialized = found?.status?.conditions?.find(({ type }) => type === 'Initialized')
    assert.equal(initialized?.status, 'False')
  })

  test('at a deletion the app ends first, then the sidecars in reverse order, each after SIGTERM', async () => {
    const key = await apply(
      sandbox,
      pod('delete', {
        terminationGracePeriodSeconds: 5,
        initContainers: [
          sh('first', untilTerm(), { restartPolicy: 'Always' }),
          sh('second', untilTerm(), { restartPolicy: 'Always' }),
        ],
        containers: [sh('app', `trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.02; done`)],
      }),
    )
    await up(sandbox, key, 'first', 'second', 'app')
    await sandbox.kube.delete('pods', 'delete', 'default')
    const events = await timelineAtEnd(sandbox, key)
    assert.deepEqual(
      events
        .filter(({ event }) => /sig|finished/.test(event))
        .map(({ event, container }) => `${event} ${container}`),
      [
        'sigterm app',
        'container-finished app',
        'sigterm second',
        'container-finished second',
        'sigterm first',
        'container-finished first',
      ],
    )
  })

  test('a container that ignores SIGTERM is killed when the grace period is over', async () => {
    // PID 1 of a PID namespace without a handler ignores SIGTERM.
    const key = await apply(sandbox, pod('deaf', { containers: [sh('app', 'sleep 1000; true')] }))
    await sandbox.pods.waitFor(key, isReady)
    const started = Date.now()
    await sandbox.kube.delete('pods', 'deaf', 'default')
    const events = await timelineAtEnd(sandbox, key)
    const end = events.find(({ event }) => event === 'container-finished')
    assert.equal(end?.exitCode, 137)
    assert.ok(events.some(({ event }) => event === 'sigkill'))
    assert.ok(Date.now() - started >= 1000, 'killed before its grace period was over')
  })

  test('a pod that is deleted while its init container waits ends at once', async () => {
    const key = await apply(
      sandbox,
      pod('delete-init', {
        terminationGracePeriodSeconds: 30,
        initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' }), sh('gate', untilTerm())],
        containers: [sh('app', untilTerm())],
      }),
    )
    await up(sandbox, key, 'side', 'gate')
    const started = Date.now()
    await sandbox.kube.delete('pods', 'delete-init', 'default')
    await sandbox.pods.waitFor(key, isGone)
    assert.ok(Date.now() - started < 25_000, 'it waited for the grace period of 30 s')
  })

  test('when the app has ended, the sidecars are stopped and the pod succeeds', async () => {
    const key = await apply(
      sandbox,
      pod('job', {
        restartPolicy: 'Never',
        initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' })],
        containers: [sh('app', 'echo done')],
      }),
    )
    const found = await sandbox.pods.waitFor(key, hasPhase('Succeeded'))
    const state = found?.status?.initContainerStatuses?.[0]?.state
    assert.ok(state !== undefined && 'terminated' in state && state.terminated.exitCode === 0)
    assert.equal(found?.status?.conditions?.find(({ type }) => type === 'Ready')?.reason, 'PodCompleted')
    // The network is gone, but its addresses stay in the status, although another pod may have them by now.
    assert.equal(found?.status?.podIPs?.length, 2)
  })

  test('a new pod sandbox has another address and runs everything again', async () => {
    const key = await apply(
      sandbox,
      pod('again', {
        initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' }), sh('gate', 'echo gate')],
        containers: [sh('app', untilTerm())],
      }),
    )
    const first = await sandbox.pods.waitFor(key, isReady)
    await sandbox.pods.restartSandbox(key)
    const second = await sandbox.pods.waitFor(
      key,
      (p) => isReady(p) && p?.status?.podIP !== first?.status?.podIP && p?.status?.podIP !== undefined,
    )
    assert.equal(second?.status?.containerStatuses?.[0]?.restartCount, 1)
    assert.equal(sandbox.pods.logs(key, 'gate'), 'gate\ngate\n')
  })
})

/** The timeline of a pod that is being deleted, once the pod is gone. */
async function timelineAtEnd(sandbox: Sandbox, key: string): Promise<readonly TimelineEvent[]> {
  const events = sandbox.pods.timeline(key)
  await sandbox.pods.waitFor(key, isGone)
  return events
}
