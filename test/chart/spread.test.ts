/** Where a real scheduler places the injector's replicas: nodes are only objects, and nothing runs on them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { needsPeer } from '../peers/peers.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { namespace, testServer } from '../sandbox/kube/client/test-server.ts'
import { judgeByRealApiServer, needsControlPlane } from '../sandbox/real/judge.ts'
import type { Program } from '../sandbox/real/logged.ts'
import { startProgram } from '../sandbox/real/programs.ts'
import { eventually } from '../support/until.ts'
import { find, needsHelm, objectsOf, RELEASE_NAMESPACE, render } from './helm.ts'

const needs = { ...needsHelm, ...needsControlPlane(), ...needsPeer('kube-scheduler') }
if (needs.skip === undefined) judgeByRealApiServer()

type Template = { readonly metadata: { readonly labels: Record<string, string> }; readonly spec: object }
type Pod = KubeObject & {
  readonly spec: { readonly nodeName?: string }
  readonly status?: { readonly conditions?: readonly { type: string; reason?: string; message?: string }[] }
}
type Node = KubeObject & { readonly spec?: { readonly taints?: readonly { readonly key: string }[] } }

describe('the injector’s replicas', needs, () => {
  const server = testServer()
  let directory: string
  let scheduler: Program
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'pod2iam-scheduler-'))
    const kube = server().admin
    await kube.create(namespace(RELEASE_NAMESPACE))
    const metadata = { name: 'pod2iam-injector', namespace: RELEASE_NAMESPACE }
    await kube.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata })
    const flags = ['--leader-elect=false', '--secure-port=0', `--kubeconfig=${await server().kubeconfig()}`]
    scheduler = startProgram('kube-scheduler', flags, join(directory, 'log'))
  })
  after(async () => {
    await scheduler?.kill()
    rmSync(directory, { recursive: true })
  })
  afterEach(async () => {
    const kube = server().admin
    const { items: pods } = await kube.list('pods', { namespace: RELEASE_NAMESPACE })
    for (const { metadata } of pods) await remove(metadata.name ?? '')
    const { items: nodes } = await kube.list('nodes')
    for (const { metadata } of nodes) await kube.delete('nodes', metadata.name ?? '')
  })

  /** Creates ready nodes, each with room for so many pods. */
  const nodes = async (rooms: Readonly<Record<string, number>>) => {
    for (const [name, room] of Object.entries(rooms)) {
      await server().admin.create(nodeOf(name))
      const capacity = { cpu: '4', memory: '8Gi', pods: String(room) }
      const conditions = [{ type: 'Ready', status: 'True' }]
      const status = { capacity, allocatable: capacity, conditions }
      await server().admin.patch('nodes', name, undefined, { status }, { subresource: 'status' })
      await eventually(`${name} without taints`, async () => (await taintsOf(name)).length === 0)
    }
  }
  const taintsOf = async (name: string) => (await server().admin.get<Node>('nodes', name)).spec?.taints ?? []
  const cordon = async (name: string, unschedulable: boolean) => {
    await server().admin.patch('nodes', name, undefined, { spec: { unschedulable } })
    await eventually('its taint', async () => (await taintsOf(name)).length > 0 === unschedulable)
  }
  const remove = (name: string) =>
    server()
      .admin.delete('pods', name, RELEASE_NAMESPACE, { gracePeriodSeconds: 0 })
      .catch(() => undefined)
  const create = async (name: string, template: Template, hash = 'first') => {
    const labels = { ...template.metadata.labels, 'pod-template-hash': hash }
    const metadata = { name, namespace: RELEASE_NAMESPACE, labels }
    await server().admin.create({ apiVersion: 'v1', kind: 'Pod', metadata, spec: template.spec })
  }
  /** The node on which it was placed. */
  const placed = (name: string) =>
    eventually(`${name} on a node`, async () => {
      const failed = scheduler.ended()
      if (failed !== undefined) assert.fail(failed)
      return (await get(name)).spec.nodeName
    })
  const get = (name: string) => server().admin.get<Pod>('pods', name, RELEASE_NAMESPACE)
  const waits = (name: string) =>
    eventually(`${name} waits`, async () => {
      const { spec, status } = await get(name)
      assert.equal(spec.nodeName, undefined)
      return status?.conditions?.find(({ reason }) => reason === 'Unschedulable')?.message
    })
  const put = async (name: string, template: Template, hash?: string) => {
    await create(name, template, hash)
    return placed(name)
  }

  test('share the node if there is only one', async () => {
    await nodes({ only: 10 })
    const template = templateOf()
    assert.deepEqual([await put('a', template), await put('b', template)], ['only', 'only'])
  })

  test('are on different nodes, and when one node is drained, its replica goes to a third one, even if that is full', async () => {
    await nodes({ one: 10, two: 10 })
    const template = templateOf()
    const [a, b] = [await put('a', template), await put('b', template)]
    assert.notEqual(a, b)
    await nodes({ three: 1 })
    // A pod without a priority, which is preempted.
    const containers = [{ name: 'app', image: 'app:1' }]
    const spec = { nodeName: 'three', terminationGracePeriodSeconds: 0, containers }
    await server().admin.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'other', namespace: RELEASE_NAMESPACE },
      spec,
    })
    await cordon(a, true)
    await remove('a')
    assert.equal(await put('c', template), 'three')
  })

  test('share the remaining node while the other of two is drained', async () => {
    await nodes({ one: 10, two: 10 })
    const template = templateOf()
    const [a, b] = [await put('a', template), await put('b', template)]
    await cordon(a, true)
    await remove('a')
    assert.equal(await put('c', template), b)
  })

  test('wait for the other node with minDomains=2, and are placed when it is back', async () => {
    await nodes({ one: 10, two: 10 })
    const template = templateOf('--set', 'injector.minDomains=2')
    const [a, b] = [await put('a', template), await put('b', template)]
    assert.notEqual(a, b)
    await cordon(a, true)
    await remove('a')
    await create('c', template)
    assert.match(await waits('c'), /topology spread constraints/)
    await cordon(a, false)
    assert.equal(await placed('c'), a)
  })

  test('are on different nodes after a rollout, too, since the old ones do not count', async () => {
    for (let round = 1; round <= 5; round++) {
      await nodes({ [`one-${round}`]: 10, [`two-${round}`]: 10 })
      const template = templateOf()
      const old = [await put('a', template), await put('b', template)]
      const first = await put('c', template, 'second')
      // Of the old replicas, a controller first removes the one that shares its node.
      await remove(old[0] === first ? 'a' : 'b')
      assert.notEqual(await put('d', template, 'second'), first)
      for (const name of ['a', 'b', 'c', 'd']) await remove(name)
      for (const name of ['one', 'two']) await server().admin.delete('nodes', `${name}-${round}`)
    }
  })
})

function templateOf(...args: readonly string[]): Template {
  const { spec } = find(
    objectsOf(render('default', ...args)),
    'Deployment',
    'pod2iam-injector',
  ) as unknown as {
    spec: { template: Template }
  }
  return spec.template
}

function nodeOf(name: string): KubeObject {
  const labels = { 'kubernetes.io/os': 'linux', 'kubernetes.io/hostname': name }
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } }
}
