import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import {
  container,
  containerStatus,
  createSandbox,
  hasPhase,
  isReady,
  needsNamespaces,
  type Sandbox,
} from '../index.ts'
import { backOffDelay } from './backoff.ts'
import type { PodSpec } from './pod.ts'
import { apply, IMAGES, pod, sh, untilTerm } from './test-pods.ts'

test('the first restart is immediate, and each further one waits twice as long, up to a limit', () => {
  const delays = [1, 2, 3, 4, 9].map((restart) => backOffDelay(restart, { base: 10, max: 50 }))
  assert.deepEqual(delays, [0, 10, 20, 40, 50])
})

describe('containers that end', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({
      images: { ...IMAGES },
      backOff: { base: 20, max: 100, resetAfter: 60_000 },
    })
  })
  after(() => sandbox?.close())

  const run = (name: string, spec: PodSpec) => apply(sandbox, pod(name, spec))

  for (const [policy, exit, phase] of [
    ['Never', 0, 'Succeeded'],
    ['Never', 3, 'Failed'],
    ['OnFailure', 0, 'Succeeded'],
  ] as const)
    test(`with restartPolicy ${policy} and exit code ${exit} the pod has ${phase} without a restart`, async () => {
      const key = await run(`${policy}-${exit}`.toLowerCase(), {
        restartPolicy: policy,
        containers: [sh('app', `exit ${exit}`)],
      })
      const found = await sandbox.pods.waitFor(key, hasPhase(phase))
      const status = containerStatus(found, 'app')
      assert.equal(status?.restartCount, 0)
      assert.ok(status !== undefined && 'terminated' in status.state)
      assert.equal(status.state.terminated.exitCode, exit)
      assert.equal(status.state.terminated.reason, exit === 0 ? 'Completed' : 'Error')
    })

  test('with restartPolicy OnFailure and exit code 1 a container is restarted and waits in CrashLoopBackOff', async () => {
    const key = await run('onfailure-1', { restartPolicy: 'OnFailure', containers: [sh('app', 'exit 1')] })
    const found = await sandbox.pods.waitFor(
      key,
      container('app', ({ state, restartCount }) => restartCount >= 2 && 'waiting' in state),
    )
    const status = containerStatus(found, 'app')
    assert.match(JSON.stringify(status?.state), /CrashLoopBackOff/)
    assert.match(JSON.stringify(status?.lastState), /"exitCode":1/)
    assert.equal(found?.status?.phase, 'Running')
  })

  test('a container that ran longer than `resetAfter` is restarted without back-off', async () => {
    const own = await createSandbox({
      images: { ...IMAGES },
      backOff: { base: 600_000, max: 600_000, resetAfter: 0 },
    })
    try {
      const key = await apply(own, pod('anew', { containers: [sh('app', 'sleep 0.05')] }))
      await own.pods.waitFor(
        key,
        container('app', ({ restartCount }) => restartCount >= 3),
      )
    } finally {
      await own.close()
    }
  })

  test('with restartPolicy Always even a container that ends with 0 is restarted', async () => {
    const key = await run('always', { containers: [sh('app', 'echo run')] })
    await sandbox.pods.waitFor(
      key,
      container('app', ({ restartCount }) => restartCount >= 2),
    )
    assert.match(sandbox.pods.logs(key), /^(run\n){2,}$/)
    assert.equal(sandbox.pods.logs(key, 'app', { run: 0 }), 'run\n')
  })

  test('a killed app container is restarted, others are not touched', async () => {
    const key = await run('killed', { containers: [sh('app', untilTerm()), sh('other', untilTerm())] })
    await sandbox.pods.waitFor(key, isReady)
    const other = sandbox.pods.pid(key, 'other')
    assert.equal(sandbox.pods.kill(key, 'app', 'SIGKILL'), true)
    const found = await sandbox.pods.waitFor(
      key,
      (p) => isReady(p) && containerStatus(p, 'app')?.restartCount === 1,
    )
    assert.match(JSON.stringify(containerStatus(found, 'app')?.lastState), /"exitCode":137/)
    assert.equal(sandbox.pods.pid(key, 'other'), other)
  })

  test('a killed sidecar is restarted even with restartPolicy Never, and init containers do not run again', async () => {
    const key = await run('killed-sidecar', {
      restartPolicy: 'Never',
      initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' }), sh('gate', 'echo gate')],
      containers: [sh('app', untilTerm())],
    })
    await sandbox.pods.waitFor(key, isReady)
    const app = sandbox.pods.pid(key, 'app')
    sandbox.pods.kill(key, 'side')
    await sandbox.pods.waitFor(key, (p) => isReady(p) && containerStatus(p, 'side')?.restartCount === 1)
    assert.equal(sandbox.pods.pid(key, 'app'), app)
    assert.equal(sandbox.pods.logs(key, 'gate'), 'gate\n')
  })

  test('a sidecar that dies while an init container runs is restarted at once', async () => {
    const key = await run('dying-sidecar', {
      initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' }), sh('gate', untilTerm())],
      containers: [sh('app', 'true')],
    })
    const gateRuns = container('gate', ({ state }) => 'running' in state)
    await sandbox.pods.waitFor(key, gateRuns)
    sandbox.pods.kill(key, 'side')
    const restarted = container('side', ({ state, restartCount }) => 'running' in state && restartCount === 1)
    const found = await sandbox.pods.waitFor(key, restarted)
    assert.ok(gateRuns(found))
    assert.equal(containerStatus(found, 'gate')?.restartCount, 0)
  })

  test('an init container that fails is restarted until it succeeds', async () => {
    const script = '[ -f /state/once ] && exit 0; touch /state/once; exit 1'
    const key = await run('init-retry', {
      volumes: [{ name: 'state', emptyDir: {} }],
      initContainers: [sh('init', script, { volumeMounts: [{ name: 'state', mountPath: '/state' }] })],
      containers: [sh('app', untilTerm())],
    })
    const found = await sandbox.pods.waitFor(key, isReady)
    assert.equal(containerStatus(found, 'init')?.restartCount, 1)
  })

  test('with restartPolicy Never a failed init container makes the pod fail, and its sidecars end', async () => {
    const key = await run('init-never', {
      restartPolicy: 'Never',
      initContainers: [sh('side', untilTerm(), { restartPolicy: 'Always' }), sh('gate', 'exit 1')],
      containers: [sh('app', 'true')],
    })
    const found = await sandbox.pods.waitFor(key, hasPhase('Failed'))
    assert.equal(containerStatus(found, 'gate')?.restartCount, 0)
    assert.match(JSON.stringify(containerStatus(found, 'side')?.state), /"exitCode":0/)
    assert.match(JSON.stringify(containerStatus(found, 'app')?.state), /PodInitializing/)
  })

  test('an init container with its own restartPolicy OnFailure is restarted in a pod with Never', async () => {
    const script = '[ -f /state/once ] && exit 0; touch /state/once; exit 1'
    const init = sh('gate', script, {
      restartPolicy: 'OnFailure',
      volumeMounts: [{ name: 'state', mountPath: '/state' }],
    })
    const key = await run('init-own-policy', {
      restartPolicy: 'Never',
      volumes: [{ name: 'state', emptyDir: {} }],
      initContainers: [init],
      containers: [sh('app', 'true')],
    })
    const found = await sandbox.pods.waitFor(key, hasPhase('Succeeded'))
    assert.equal(containerStatus(found, 'gate')?.restartCount, 1)
  })

  test('the termination message is the content of its file', async () => {
    const key = await run('message', {
      restartPolicy: 'Never',
      containers: [sh('app', 'echo noise; printf last-words >/dev/termination-log; exit 1')],
    })
    const found = await sandbox.pods.waitFor(key, hasPhase('Failed'))
    assert.match(JSON.stringify(containerStatus(found, 'app')?.state), /"message":"last-words"/)
  })

  test('FallbackToLogsOnError uses the last 2 KiB of the log, but only after an error', async () => {
    const noisy =
      'i=0; while [ $i -lt 200 ]; do echo "line $i of a log that is long enough"; i=$((i+1)); done'
    const policy = { terminationMessagePolicy: 'FallbackToLogsOnError' as const }
    const key = await run('fallback', {
      restartPolicy: 'Never',
      containers: [sh('bad', `${noisy}; exit 1`, policy), sh('good', noisy, policy)],
    })
    const found = await sandbox.pods.waitFor(key, hasPhase('Failed'))
    const message = (name: string) => {
      const state = containerStatus(found, name)?.state
      return state !== undefined && 'terminated' in state ? state.terminated.message : undefined
    }
    assert.match(message('bad') ?? '', /line 199 of a log that is long enough\n$/)
    assert.equal(Buffer.byteLength(message('bad') ?? ''), 2048)
    assert.equal(message('good'), undefined)
  })

  test('a container waits for an image that is not in the table', async () => {
    const key = await run('no-image', { containers: [{ name: 'app', image: 'later', args: [untilTerm()] }] })
    const found = await sandbox.pods.waitFor(
      key,
      container(
        'app',
        ({ state }) => 'waiting' in state && /^(ErrImagePull|ImagePullBackOff)$/.test(state.waiting.reason),
      ),
    )
    assert.equal(found?.status?.phase, 'Pending')
    assert.match(
      JSON.stringify(containerStatus(found, 'app')?.state),
      /\\"later\\" is not in the sandbox's table/,
    )
    sandbox.node.images.later = { command: ['/bin/sh', '-c'] }
    await sandbox.pods.waitFor(key, isReady)
  })

  test('a command that does not exist is a StartError', async () => {
    const key = await run('no-command', {
      restartPolicy: 'Never',
      containers: [{ name: 'app', image: 'sh', command: ['no-such-command'] }],
    })
    const found = await sandbox.pods.waitFor(key, hasPhase('Failed'))
    assert.match(JSON.stringify(containerStatus(found, 'app')?.state), /StartError.*no-such-command/)
  })
})
