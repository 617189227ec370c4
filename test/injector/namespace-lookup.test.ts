import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { apiServer, kubeProblem } from '../../injector/kubernetes/access.ts'
import { watchReachability } from '../../injector/kubernetes/api-reachability.ts'
import { namespaceLookup } from '../../injector/kubernetes/namespace-lookup.ts'
import { shared } from '../../injector/kubernetes/shared-reads.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { until } from '../support/until.ts'
import { type FakeApi, fakeApi } from './fake-api.ts'

describe('the look-up of a namespace', () => {
  let api: FakeApi
  before(async () => {
    api = await fakeApi({ shop: { labels: { a: 'b' }, annotations: { c: 'd' } }, bare: {} })
  })
  after(() => api.close())

  const problemOf = async (name: string, how: 'direct' | 'patient' = 'patient') => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig))[how])
    return lookup(name).then(() => assert.fail('it should fail'), kubeProblem)
  }

  it('reads labels and annotations as they are now', async () => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig)).patient)
    assert.deepEqual(await lookup('shop'), { name: 'shop', labels: { a: 'b' }, annotations: { c: 'd' } })
    assert.deepEqual(await lookup('bare'), { name: 'bare', labels: {}, annotations: {} })
  })

  it('keeps its connections instead of shaking hands for every review', async () => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig)).patient)
    const before = api.connections()
    for (let round = 0; round < 20; round++) await lookup('shop')
    assert.ok(api.connections() - before <= 3, `${api.connections() - before} connections`)
  })

  it('fails in a clause when there is no such namespace, or none is named', async () => {
    assert.equal(await problemOf('absent'), 'the API server answers 404')
    for (const name of ['', '../secrets', 'a/b', 'shop?x', 'Shop', 'a'.repeat(64)])
      assert.equal(await problemOf(name), 'the review names no namespace')
  })

  it('fails in a clause on any status, without the answer’s body', async () => {
    for (const status of [401, 403, 500, 503]) {
      api.behave = status
      assert.equal(await problemOf('shop'), `the API server answers ${status}`)
    }
    api.behave = 'answer'
  })

  it('gives up after two seconds when the API server hangs', async () => {
    api.behave = 'hang'
    assert.equal(await problemOf('shop', 'direct'), 'no answer within 2000 ms')
    api.behave = 'answer'
  })

  it('fails in a clause when nobody listens', async () => {
    const gone = await fakeApi({})
    const { direct } = await apiServer(gone.kubeconfig)
    await gone.close()
    await assert.rejects(namespaceLookup(direct)('shop'), (error) => /ECONNREFUSED/.test(kubeProblem(error)))
  })

  it('asks again when the API server gave up the connection it was kept on', async () => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig)).patient)
    await lookup('shop')
    api.behave = 'give-up-kept'
    const before = api.connections()
    assert.equal((await lookup('shop')).name, 'shop')
    assert.equal(api.connections() - before, 1)
    api.behave = 'answer'
  })

  it('a kubeconfig that is not there is told in a sentence', async () => {
    await assert.rejects(apiServer('/nonexistent/kubeconfig'), /--kubeconfig: there is no file \/nonexistent/)
  })

  it('outside a pod and without a kubeconfig there is a sentence, not localhost:8080', async () => {
    await assert.rejects(apiServer(undefined), /give --kubeconfig/)
  })

  it('reachability: unreachable until the first answer, then only after three failures in a row', async () => {
    const watch = watchReachability((await apiServer(api.kubeconfig)).direct, 5)
    try {
      assert.equal(watch.problem(), 'it has not answered yet')
      await until(() => watch.problem() === undefined)
      api.behave = 503
      await until(() => watch.problem() === 'the API server answers 503')
      api.behave = 'answer'
      await until(() => watch.problem() === undefined)
    } finally {
      api.behave = 'answer'
      watch.stop()
    }
  })
})

describe('concurrent look-ups of one namespace', () => {
  function counted() {
    const reads: { name: string; answer: (label: string) => void; fail: () => void }[] = []
    const lookup = shared((name) => {
      const { promise, resolve, reject } = Promise.withResolvers<Namespace>()
      const answer = (label: string) => resolve({ name, labels: { label }, annotations: {} })
      reads.push({ name, answer, fail: () => reject(new Error('as told')) })
      return promise
    })
    return { lookup, reads }
  }

  it('share a read that began after all of them: none gets an answer older than its question', async () => {
    const { lookup, reads } = counted()
    const first = lookup('shop')
    const others = Array.from({ length: 50 }, () => lookup('shop'))
    assert.equal(reads.length, 1)
    reads[0]?.answer('old')
    assert.deepEqual((await first).labels, { label: 'old' })
    await until(() => reads.length === 2)
    reads[1]?.answer('new')
    for (const other of await Promise.all(others)) assert.deepEqual(other.labels, { label: 'new' })
    assert.equal(reads.length, 2)
  })

  it('read again afterwards, also after a failure, and never wait for another namespace', async () => {
    const { lookup, reads } = counted()
    const [first, waiting, other] = [lookup('shop'), lookup('shop'), lookup('jobs')]
    assert.deepEqual(
      reads.map(({ name }) => name),
      ['shop', 'jobs'],
    )
    reads[1]?.answer('x')
    await other
    reads[0]?.fail()
    await assert.rejects(first, /as told/)
    await until(() => reads.length === 3)
    reads[2]?.answer('y')
    assert.deepEqual((await waiting).labels, { label: 'y' })
    const last = lookup('shop')
    assert.equal(reads.length, 4)
    reads[3]?.answer('z')
    assert.deepEqual((await last).labels, { label: 'z' })
  })
})
