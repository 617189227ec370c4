/** What the broker keeps of the namespaces and pods that it watches, and which changes it announces. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { namespaceRecord, namespaceStore } from '../../node-guard/broker/kubernetes/namespaces.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { podStore } from '../../node-guard/broker/kubernetes/pods.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { ROLE_KEY } from './judgement.ts'

const namespaceOf = (name: string, injection = 'enabled', annotations: Record<string, string> = {}) =>
  namespaceRecord({ metadata: { name, labels: { [KEYS.injection]: injection }, annotations } }) ??
  assert.fail()

function watchedNamespaces() {
  const store = namespaceStore(fakeClock())
  const announced: string[] = []
  store.subscribe((name) => announced.push(name))
  return { store, taken: () => announced.splice(0) }
}

const POLICY = {
  [KEYS.allowedRoles]: '["app"]',
  [KEYS.permitted]: 'app.*',
  [KEYS.defaultRole]: 'app',
  [KEYS.allowedExternalIds]: '["x1"]',
}

test('of a namespace’s annotations those of the policy are kept, and no others', () => {
  const { annotations } = namespaceOf('shop', 'enabled', { ...POLICY, 'example.com/team': 'x' })
  assert.deepEqual(annotations, POLICY)
})

test('a list of namespaces announces the new, the changed and the missing ones', () => {
  const { store, taken } = watchedNamespaces()
  store.sink.replace([namespaceOf('shop'), namespaceOf('bank')])
  assert.deepEqual(taken(), ['shop', 'bank'])
  assert.equal(store.get('bank')?.injection, 'enabled')
  store.sink.replace([namespaceOf('shop', 'all'), namespaceOf('farm')])
  assert.deepEqual(taken(), ['bank', 'shop', 'farm'])
  assert.equal(store.get('bank'), undefined)
})

test('a namespace is announced if its label or an annotation of the policy has changed, and not otherwise', () => {
  const { store, taken } = watchedNamespaces()
  store.sink.upsert(namespaceOf('shop'))
  taken()
  store.sink.upsert(namespaceOf('shop', 'enabled', { 'example.com/team': 'x' }))
  assert.deepEqual(taken(), [])
  store.sink.upsert(namespaceOf('shop', 'all'))
  assert.deepEqual(taken(), ['shop'])
  let annotations = {}
  for (const [key, value] of Object.entries(POLICY)) {
    annotations = { ...annotations, [key]: value }
    store.sink.upsert(namespaceOf('shop', 'all', annotations))
    assert.deepEqual(taken(), ['shop'], key)
  }
  store.sink.remove(namespaceOf('shop'))
  store.sink.remove(namespaceOf('shop'))
  assert.deepEqual(taken(), ['shop'])
})

test('a pod is announced whenever it is new or changed, and once it is gone', () => {
  const podOf = (name: string) =>
    podRecord({ metadata: { uid: name, namespace: 'shop', name }, spec: {}, status: {} }, ROLE_KEY) ??
    assert.fail()
  const store = podStore((object) => podRecord(object, ROLE_KEY))
  const announced: string[] = []
  store.subscribe({
    gone: (uid) => announced.push(`gone ${uid}`),
    changed: ({ uid }) => announced.push(`changed ${uid}`),
  })
  store.sink.replace([podOf('a'), podOf('b')])
  store.sink.upsert(podOf('b'))
  store.sink.replace([podOf('b')])
  store.learn(podOf('c'))
  store.sink.remove(podOf('b'))
  assert.deepEqual(announced, [
    'changed a',
    'changed b',
    'changed b',
    'gone a',
    'changed b',
    'changed c',
    'gone b',
  ])
})
