/** The startup taint: it is removed from nodes whose guard is ready, and from no others, against an API server. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Kube, KubeError } from '../../common/kube/client.ts'
import { apiServer } from '../../injector/kubernetes/access.ts'
import { injectorMetrics } from '../../injector/metrics.ts'
import { guardPod, isGuarded, taintedNode, untaint } from '../../injector/startup-taint/node.ts'
import { removeStartupTaint } from '../../injector/startup-taint/remove.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { fakeClock, fastClock } from '../support/fake-clock.ts'
import { captureLog, silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import type { Dict } from './fixtures.ts'

const KEY = 'pod2iam.dev/guard-not-ready'
const PLACE = { namespace: 'pod2iam-system', selector: 'app=pod2iam-node-guard' }
const OURS = { key: KEY, effect: 'NoSchedule' }
const OTHER = { key: 'node.cilium.io/agent-not-ready', effect: 'NoExecute', value: 'true' }
/** A condition of a node whose clock is far behind, since its times must not matter. */
const ready = (status: string) => ({ type: 'Ready', status, lastTransitionTime: '2001-01-01T00:00:00Z' })

describe('the patch of a tainted node', () => {
  const node = (...taints: Dict[]) => ({ metadata: { name: 'n' }, spec: { taints } })
  const after = (...taints: Dict[]) => {
    const ops = untaint(taintedNode(node(...taints)) ?? assert.fail('no node'), KEY)
    const tested = ops.filter(({ op }) => op === 'test').map(({ path, value }) => [path, value])
    assert.equal(ops.length, tested.length * 2)
    const left = [...taints]
    for (const { op, path } of ops) if (op === 'remove') left.splice(Number(path.split('/').at(-1)), 1)
    return { left, tested }
  }

  it('removes only the startup taint, at any position', () => {
    assert.deepEqual(after(OTHER, OURS), { left: [OTHER], tested: [['/spec/taints/1', OURS]] })
    assert.deepEqual(after(OTHER), { left: [OTHER], tested: [] })
    assert.deepEqual(after(), { left: [], tested: [] })
  })

  it('removes the taint with all effects', () => {
    const twice = { ...OURS, effect: 'NoExecute' }
    assert.deepEqual(after(OURS, OTHER, twice).left, [OTHER])
  })
})

describe('a node is guarded', () => {
  const node = taintedNode({ metadata: { name: 'n', creationTimestamp: '2026-01-01T00:00:10Z' } })
  const guard = (status: string, created: string, nodeName = 'n', metadata: Dict = {}) =>
    guardPod({
      metadata: { uid: 'u', creationTimestamp: `2026-01-01T00:00:${created}Z`, ...metadata },
      spec: { nodeName },
      status: { conditions: [ready(status)] },
    })
  for (const [what, pod, expected] of [
    ['by a ready guard, created in the same second', guard('True', '10'), true],
    ['not by a guard that is not ready', guard('False', '20'), false],
    ['not by the remaining guard of an earlier machine with the same name', guard('True', '09'), false],
    [
      'not by a guard that is being deleted',
      guard('True', '20', 'n', { deletionTimestamp: '2026-01-01T00:01:00Z' }),
      false,
    ],
  ] as const)
    it(what, () => {
      assert.ok(node !== undefined && pod !== undefined)
      assert.equal(isGuarded(node, [pod]), expected)
    })

  it('never by an object that is no pod, without an exception', () => {
    for (const one of [undefined, null, 1, {}, { metadata: {} }, { metadata: { uid: 'u' }, spec: {} }])
      assert.equal(guardPod(one), undefined)
    for (const one of [undefined, null, 1, {}, { metadata: {} }]) assert.equal(taintedNode(one), undefined)
    assert.deepEqual(taintedNode({ metadata: { name: 'n' }, spec: { taints: 'x' } })?.taints, [])
  })
})

describe('a pending patch', () => {
  /** One tainted node with a ready guard; the test answers the patches. */
  async function world() {
    const node = {
      metadata: { name: 'n', creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: { taints: [OURS] },
    }
    const guard = {
      metadata: { uid: 'u', creationTimestamp: '2026-01-01T00:00:09Z' },
      spec: { nodeName: 'n' },
      status: { conditions: [ready('True')] },
    }
    const answers: PromiseWithResolvers<unknown>[] = []
    const { log, lines } = captureLog()
    const kube: Kube = {
      get: async (path) => ({
        metadata: { resourceVersion: '1' },
        items: path.endsWith('/nodes') ? [node] : [guard],
      }),
      send: () => {
        const answer = Promise.withResolvers<unknown>()
        answers.push(answer)
        return answer.promise
      },
      stream: async function* (_path, _query, signal) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      },
      close() {},
    }
    const clock = fakeClock()
    const controller = new AbortController()
    const by = {
      kube,
      clock,
      log,
      signal: controller.signal,
    }
    const taint = removeStartupTaint(by, KEY, PLACE)
    await until(() => answers.length > 0)
    const settled = async (answer: (one: PromiseWithResolvers<unknown>) => void) => {
      const [one] = answers.splice(0)
      if (one !== undefined) answer(one)
      await new Promise(setImmediate)
    }
    const sweep = () => clock.advanceSync(2000)
    return { taint, answers, lines, settled, sweep, stop: () => controller.abort() }
  }

  it('is the only one for its node, and the last one if it succeeds', async () => {
    const { taint, answers, lines, settled, sweep, stop } = await world()
    sweep()
    assert.equal(answers.length, 1)
    await settled(({ resolve }) => resolve({}))
    assert.deepEqual([taint.removed(), taint.tainted()], [1, 0])
    const msg = 'startup taint removed, the node is guarded'
    assert.deepEqual(lines.at(-1), { level: 'info', msg, node: 'n' })
    sweep()
    assert.equal(answers.length, 0)
    stop()
  })

  for (const [status, level] of [
    [403, 'warn'],
    [500, 'warn'],
    [422, 'debug'],
    [404, 'debug'],
  ] as const)
    it(`that is answered with ${status} is logged at ${level} and tried again`, async () => {
      const { taint, answers, lines, settled, sweep, stop } = await world()
      await settled(({ reject }) => reject(new KubeError(status, 'as arranged')))
      const line = lines.find(({ msg }) => msg === 'startup taint not removed')
      assert.deepEqual(line, { level, msg: 'startup taint not removed', node: 'n', error: 'as arranged' })
      assert.equal(taint.removed(), 0)
      sweep()
      assert.equal(answers.length, 1)
      stop()
    })
})

describe('the startup taint', () => {
  let directory: string
  let api: ApiServer
  const kubes: Kube[] = []
  const stopping = new AbortController()
  const clock = fastClock(20)
  const replicas: ReturnType<typeof removeStartupTaint>[] = []
  const removedByAll = () => replicas.reduce((sum, one) => sum + one.removed(), 0)

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: PLACE.namespace } })
    await grant()
    for (const _ of [1, 2]) {
      const { token } = await api.admin.createToken(PLACE.namespace, 'pod2iam-injector')
      const { background } = await apiServer(await api.kubeconfig(token))
      kubes.push(background)
      replicas.push(
        removeStartupTaint({ kube: background, clock, log: silentLog, signal: stopping.signal }, KEY, PLACE),
      )
    }
  })
  after(async () => {
    stopping.abort()
    for (const kube of kubes) kube.close()
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  /** Grants what the chart grants where the startup taint is enabled. */
  async function grant() {
    const meta = { name: 'pod2iam-injector' }
    const rbac = 'rbac.authorization.k8s.io'
    const subjects = [{ kind: 'ServiceAccount', ...meta, namespace: PLACE.namespace }]
    const nodes = [{ apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch', 'patch'] }]
    const pods = [{ apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] }]
    const here = { ...meta, namespace: PLACE.namespace }
    const role = (kind: string) => ({ apiGroup: rbac, kind, ...meta })
    for (const object of [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: here },
      { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: meta, rules: nodes },
      {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: meta,
        roleRef: role('ClusterRole'),
        subjects,
      },
      { apiVersion: `${rbac}/v1`, kind: 'Role', metadata: here, rules: pods },
      { apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata: here, roleRef: role('Role'), subjects },
    ])
      await api.admin.create(object as unknown as KubeObject)
  }
  const node = (name: string, taints: Dict[]) =>
    api.admin.create({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name },
      spec: { taints },
    } as unknown as KubeObject)
  const taintsOf = async (name: string) =>
    ((await api.admin.get('nodes', name)) as unknown as { spec?: { taints?: Dict[] } }).spec?.taints ?? []
  const guard = async (name: string, nodeName: string, labels: Dict = { app: 'pod2iam-node-guard' }) => {
    const metadata = { name, namespace: PLACE.namespace, labels }
    const spec = { nodeName, containers: [{ name: 'firewall', image: 'x' }] }
    await api.admin.create({ apiVersion: 'v1', kind: 'Pod', metadata, spec } as unknown as KubeObject)
  }
  const report = (name: string, status: 'True' | 'False') => {
    const body = { status: { conditions: [ready(status)] } }
    return api.admin.patch('pods', name, PLACE.namespace, body, { subresource: 'status' })
  }

  it('stays while the guard is not ready and is removed when it is, without other taints', async () => {
    await node('node-1', [OTHER, OURS])
    await guard('guard-1', 'node-1')
    await report('guard-1', 'False')
    await until(() => replicas.every((one) => one.tainted() === 1))
    assert.deepEqual(await taintsOf('node-1'), [OTHER, OURS])
    await report('guard-1', 'True')
    await until(async () => (await taintsOf('node-1')).length === 1)
    assert.deepEqual(await taintsOf('node-1'), [OTHER])
    await until(() => replicas.every((one) => one.tainted() === 0))
    // The watch can be faster than the answer to the patch.
    await until(() => removedByAll() > 0)
    assert.equal(removedByAll(), 1, 'by one replica only')
  })

  it('is not removed for a pod that is no guard, nor for the guard of another node', async () => {
    await node('node-2', [OURS])
    await guard('impostor', 'node-2', { app: 'something-else' })
    await report('impostor', 'True')
    await guard('guard-2', 'node-2')
    await guard('guard-elsewhere', 'node-9')
    await report('guard-elsewhere', 'True')
    await until(() => replicas.every((one) => one.tainted() === 1))
    assert.deepEqual(await taintsOf('node-2'), [OURS])
    await report('guard-2', 'True')
    await until(async () => (await taintsOf('node-2')).length === 0)
  })

  it('is removed even if a controller changes the taints at the same time', async () => {
    await node('node-3', [OURS])
    await guard('guard-3', 'node-3')
    await until(() => replicas.every((one) => one.tainted() === 1))
    const changing = (async () => {
      for (let round = 0; round < 30; round++) {
        // Taints and version are from one read: a writer that reads twice could restore the taint that was just removed.
        const { metadata, spec } = (await api.admin.get('nodes', 'node-3')) as unknown as {
          metadata: { resourceVersion: string }
          spec: { taints?: Dict[] }
        }
        const ours = (spec.taints ?? []).filter(({ key }) => key === KEY)
        const taints = [{ ...OTHER, value: String(round) }, ...ours]
        const { resourceVersion } = metadata
        await api.admin
          .patch('nodes', 'node-3', undefined, { metadata: { resourceVersion }, spec: { taints } })
          .catch(() => undefined)
      }
    })()
    await report('guard-3', 'True')
    await changing
    await until(async () => (await taintsOf('node-3')).every(({ key }) => key !== KEY))
    assert.equal((await taintsOf('node-3')).length, 1)
    await until(() => removedByAll() >= 3)
    assert.equal(removedByAll(), 3, 'once for each node so far')
  })

  it('is counted in the metrics', async () => {
    await node('node-4', [OURS])
    const metrics = injectorMetrics()
    const [one] = replicas
    assert.ok(one)
    metrics.startupTaint(one)
    await until(() => one.tainted() === 1)
    assert.match(await metrics.text(), /pod2iam_injector_tainted_nodes 1\n/)
    const removed = /pod2iam_injector_startup_taints_removed_total (\d+)\n/.exec(await metrics.text())?.[1]
    assert.equal(Number(removed), one.removed())
  })
})
