/** What a live read from the API server changes: it counts like an event of the watch, and is remembered. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkIdentity } from '../../node-guard/broker/authenticate/identify.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { judgement, PEER, ROLE_KEY } from './judgement.ts'

/** An injected pod of this node, admitted with role `app`. */
const object = (podIP: string, annotations: Record<string, string> = {}) => ({
  metadata: {
    uid: 'a',
    namespace: 'shop',
    name: 'web',
    creationTimestamp: '2026-01-01T00:00:00Z',
    annotations: { [ROLE_KEY]: 'app', ...annotations },
  },
  spec: {
    nodeName: 'node-1',
    serviceAccountName: 'default',
    initContainers: [
      {
        name: 'pod2iam-sidecar',
        restartPolicy: 'Always',
        env: [
          { name: 'POD2IAM_IDENTITY', value: 'annotation' },
          { name: 'POD2IAM_ROLE', value: 'app' },
        ],
      },
    ],
  },
  status: { phase: 'Running', podIPs: [{ ip: podIP }] },
})

const recordOf = (raw: object) => podRecord(raw, ROLE_KEY) ?? assert.fail()

const asking = (answers: Record<string, object>) => {
  const { code, ...rest } = judgement(
    (path) => answers[path],
    () => 'web',
  )
  return { ...rest, code: () => code('a') }
}

const POD = '/api/v1/namespaces/shop/pods/web'

test('a pod whose address the watch has not reported yet is read again once, and its address is remembered', async () => {
  const { state, pods, code } = asking({ [POD]: object(PEER) })
  pods.sink.upsert(recordOf(object('10.9.9.9')))
  assert.deepEqual([await code(), await code(), state.reads], ['ok', 'ok', 1])
})

test('a pod whose address the watch has reported is not read', async () => {
  const { state, pods, code } = asking({})
  pods.sink.upsert(recordOf(object(PEER)))
  assert.deepEqual([await code(), state.reads], ['ok', 0])
})

test('a pod that the watch has not reported yet is read once', async () => {
  const { state, pods, code } = asking({ [POD]: object(PEER) })
  assert.deepEqual([await code(), await code(), state.reads], ['ok', 'ok', 1])
  assert.equal(pods.get('a')?.name, 'web')
})

test('a pod that is read again is checked again, so that an identity patched meanwhile is refused', async () => {
  const { pods, code } = asking({ [POD]: object(PEER, { [ROLE_KEY]: 'other' }) })
  pods.sink.upsert(recordOf(object('10.9.9.9')))
  assert.equal(await code(), 'identity-changed')
})

test('a pod that does not exist when it is read again is forgotten, whatever the watch has reported', async () => {
  const { pods, code } = asking({})
  pods.sink.upsert(recordOf(object('10.9.9.9')))
  assert.equal(await code(), 'pod-unknown')
  assert.equal(pods.get('a'), undefined)
})

test('a namespace that was labelled just now is read once, not for every request', async () => {
  const namespace = { metadata: { name: 'shop', labels: { 'pod2iam.dev/injection': 'enabled' } } }
  const { namespaceOf, state } = asking({ '/api/v1/namespaces/shop': namespace })
  const pod = recordOf(object(PEER))
  assert.equal((await namespaceOf(pod)).injection, 'enabled')
  await namespaceOf(pod)
  assert.equal(state.reads, 1)
})

test('the refusal of a changed identity names the annotation that was changed', () => {
  for (const key of [ROLE_KEY, 'iam.amazonaws.com/external-id', 'iam.amazonaws.com/session-name'])
    assert.throws(() => checkIdentity(recordOf(object(PEER, { [key]: 'changed' })), ROLE_KEY), {
      code: 'identity-changed',
      message: new RegExp(`^annotation ${key} of pod shop/web was changed`),
    })
})
