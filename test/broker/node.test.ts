import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { identityEnv, identityOfAnnotations } from '../../common/identity.ts'
import { SIDECAR_CONTAINER } from '../../common/keys.ts'
import { KubeError } from '../../common/kube/client.ts'
import { jsonLines, oversize } from '../../common/kube/json-lines.ts'
import { Problem } from '../../common/protocol.ts'
import { checkIdentity } from '../../node-guard/broker/authenticate/identify.ts'
import { baseRoleArnOf, identityOfCallerArn } from '../../node-guard/broker/aws/caller-identity.ts'
import { limitedReader } from '../../node-guard/broker/kubernetes/limited-reader.ts'
import { MAX_TEXT, type PodRecord, podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { podStore } from '../../node-guard/broker/kubernetes/pods.ts'
import { fakeClock } from '../support/fake-clock.ts'

const B = 'arn:aws:iam::123456789012:role/'

/** The base ARN that kube2iam and kiam derive from the ARN of an instance profile. */
const BASES: [arn: string, base: string | undefined][] = [
  ['arn:aws:iam::123456789012:instance-profile/my-role', B],
  ['arn:aws:iam::123456789012:instance-profile/mypath/x', B],
  // kube2iam: "can't determine BaseARN"; kiam does the same as pod2iam.
  ['arn:aws:iam::123456789012:instance-profile', B],
  ['arn:aws-cn:iam::123456789012:instance-profile/x', 'arn:aws-cn:iam::123456789012:role/'],
  ['arn:aws-us-gov:sts::123456789012:assumed-role/node/i-1', 'arn:aws-us-gov:iam::123456789012:role/'],
  ['arn:aws:iam::123456789012:user/u', B],
  ['arn:aws:s3:::b', undefined],
  ['', undefined],
]
for (const [arn, base] of BASES)
  test(`the base of ${JSON.stringify(arn)} is ${base ?? 'unknown'}`, () => {
    assert.equal(baseRoleArnOf(arn), base)
  })

test('the caller is read from the ARN of an assumed role or of a user', () => {
  assert.deepEqual(identityOfCallerArn('arn:aws:sts::123456789012:assumed-role/node/i-1'), {
    arn: `${B}node`,
    base: B,
    role: { account: '123456789012', name: 'node' },
  })
  assert.deepEqual(identityOfCallerArn('arn:aws:iam::123456789012:user/u').role, {
    account: '123456789012',
    name: '',
  })
  assert.throws(() => identityOfCallerArn('nonsense'), /no IAM identity/)
})

async function linesOf(chunks: Iterable<Buffer>): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const value of jsonLines(Readable.from(chunks))) values.push(value)
  return values
}

test('JSON lines are read from chunks of any size, and an unfinished last line is dropped', async () => {
  const text = Buffer.from('{"a":"ä"}\n\n{"b":2}\n{"half":')
  for (let size = 1; size <= text.length; size++) {
    const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, index) =>
      text.subarray(index * size, (index + 1) * size),
    )
    assert.deepEqual(await linesOf(chunks), [{ a: 'ä' }, { b: 2 }])
  }
})

test('a line that is too long is not kept, and the line after it is read', async () => {
  const endless = Array.from({ length: 40 }, () => Buffer.alloc(1024 * 1024, 'x'))
  assert.deepEqual(await linesOf(endless), [])
  assert.deepEqual(await linesOf([...endless, Buffer.from('\n{"a":1}\n')]), [oversize, { a: 1 }])
})

test('live reads are limited, and shared within one caller, never between two', async () => {
  const clock = fakeClock()
  let reads = 0
  const live = limitedReader({ get: async () => ++reads }, clock)
  assert.deepEqual(
    await Promise.all([live.read('/p', 'a', 'n'), live.read('/p', 'a', 'n'), live.read('/p', 'b', 'n')]),
    [1, 1, 2],
  )
  await clock.advance(1001)
  assert.equal(await live.read('/p', 'a', 'n'), 3)
  const before = reads
  const answers = Array.from({ length: 100 }, (_, index) => live.read(`/p/${index}`, '', `n-${index % 10}`))
  const settled = Promise.allSettled(answers)
  await clock.advance(1)
  assert.ok(reads - before <= 50, `${reads - before} reads at once`)
  await clock.advance(3000)
  const refused = (await settled).filter(({ status }) => status === 'rejected')
  assert.ok(reads - before <= 80, `${reads - before} reads in three seconds`)
  assert.equal(refused.length, 100 - (reads - before))
  assert.ok(refused.every((answer) => answer.status === 'rejected' && answer.reason.code === 'busy'))
})

test('when many namespaces cause live reads, each gets its turn', async () => {
  const clock = fakeClock()
  const served: string[] = []
  const get = async (path: string) => void served.push(path.split('/')[1] ?? '')
  const live = limitedReader({ get }, clock)
  const ask = (namespace: string, index: number) => live.read(`/${namespace}/${index}`, '', namespace)
  const pressing = Array.from({ length: 200 }, (_, index) => ask(`n-${index % 10}`, index))
  const settled = Promise.allSettled(pressing)
  await clock.advance(100)
  const before = served.length
  const modest = ask('modest', 0)
  await clock.advance(1200)
  await modest
  // At most one read of each other namespace comes before it.
  assert.ok(served.indexOf('modest') - before <= 11, `${served.indexOf('modest') - before} came before`)
  await clock.advance(3000)
  await settled
})

test('a namespace that causes too many live reads takes none from another', async () => {
  const clock = fakeClock()
  const live = limitedReader({ get: async () => 'pod' }, clock)
  const ask = (namespace: string, index: number) =>
    live.read(`/${namespace}/${index}`, '', namespace).catch(({ code }) => code)
  for (let second = 0; second < 20; second++) {
    for (let index = 0; index < 100; index++) await ask('greedy', index)
    await clock.advance(1001)
  }
  for (let index = 0; index < 100; index++) await ask('greedy', index)
  assert.equal(await ask('greedy', 100), 'busy')
  for (let index = 0; index < 10; index++) assert.equal(await ask('modest', index), 'pod')
})

test('a live read distinguishes an absent object from a failed request', async () => {
  const clock = fakeClock()
  const failing = (error: Error) => limitedReader({ get: () => Promise.reject(error) }, clock)
  assert.equal(await failing(new KubeError(404, 'no')).read('/p', '', 'n'), undefined)
  await assert.rejects(failing(new KubeError(500, 'no')).read('/p', '', 'n'), { code: 'busy' })
  await assert.rejects(failing(new Error('ECONNREFUSED')).read('/p', '', 'n'), { code: 'busy' })
})

const object = (uid: string) => ({
  metadata: { uid, namespace: 'n', name: uid, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: {},
})

test('a live read that ends after the watch has reported the pod’s deletion does not add it again', () => {
  const gone: string[] = []
  const store = podStore((one) => podRecord(one, 'role'))
  store.subscribe({ gone: (uid) => gone.push(uid), changed: () => {} })
  const pod = podRecord(object('a'), 'role')
  assert.ok(pod)
  store.learn(pod)
  assert.equal(store.size(), 1)
  store.sink.remove(pod)
  store.learn(pod)
  assert.deepEqual([store.size(), gone], [0, ['a']])
})

test('a list removes the pods that are not on it, and reports each of them once', () => {
  const gone: string[] = []
  const store = podStore((one) => podRecord(one, 'role'))
  store.subscribe({ gone: (uid) => gone.push(uid), changed: () => {} })
  const [a, b] = ['a', 'b'].map((uid) => podRecord(object(uid), 'role'))
  assert.ok(a && b)
  store.sink.replace([a, b])
  store.sink.replace([b])
  assert.deepEqual([store.size(), gone], [1, ['a']])
})

test('an annotation or env value that is too long is not kept, and gives a pod no identity', () => {
  const long = 'x'.repeat(MAX_TEXT + 1)
  const record = (annotation: string, env: string) => {
    const { metadata, spec } = object('a')
    const sidecar = {
      name: SIDECAR_CONTAINER,
      restartPolicy: 'Always',
      env: identityEnv({ ...identityOfAnnotations({}, 'role'), source: 'annotation', role: env }),
    }
    const pod = {
      metadata: { ...metadata, annotations: { role: annotation } },
      spec: { ...spec, initContainers: [sidecar] },
    }
    return podRecord(pod, 'role') ?? assert.fail('no pod')
  }
  const code = (pod: PodRecord) => {
    try {
      checkIdentity(pod, 'role')
      return 'ok'
    } catch (error) {
      assert.ok(error instanceof Problem)
      return `${error.code} ${error.message}`
    }
  }
  const most = long.slice(1)
  assert.equal(code(record(most, most)), 'ok')
  for (const [annotation, env] of [
    [long, long],
    [long, most],
    [most, long],
  ] as const) {
    const pod = record(annotation, env)
    assert.match(code(pod), /^identity-changed annotation role of pod n\/a /)
    assert.ok(JSON.stringify(pod).length < 2 * MAX_TEXT + 1000)
  }
  assert.match(code(record(long, long)), /longer than 2048 characters/)
})

test('an object that is not a pod is not read as one', () => {
  for (const other of [
    undefined,
    null,
    7,
    'x',
    {},
    { metadata: {} },
    { metadata: { uid: 'u', name: 'n' }, spec: {} },
  ])
    assert.equal(podRecord(other, 'role'), undefined)
})
