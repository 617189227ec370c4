import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { apiServer, kubeProblem } from '../../injector/kubernetes/access.ts'
import { watchReachability } from '../../injector/kubernetes/api-reachability.ts'
import { coalesced, namespaceLookup } from '../../injector/kubernetes/lookups.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { until } from '../support/until.ts'
import { type FakeApi, fakeApi } from './fake-api.ts'

describe('the look-up of a namespace', () => {
  let api: FakeApi
  before(async () => {
    api = await fakeApi({ shop: { labels: { a: 'b' }, annotations: { c: 'd' } }, bare: {} })
  })
  after(() => api.close())

  const problemOf = async (name: string, how: 'forReviews' | 'background' = 'background') => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig))[how])
    return lookup(name).then(() => assert.fail('it should fail'), kubeProblem)
  }

  it('reads labels and annotations as they are now', async () => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig)).background)
    assert.deepEqual(await lookup('shop'), { name: 'shop', labels: { a: 'b' }, annotations: { c: 'd' } })
    assert.deepEqual(await lookup('bare'), { name: 'bare', labels: {}, annotations: {} })
  })

  it('keeps its connections instead of a TLS handshake for every review', async () => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig)).background)
    const before = api.connections()
    for (let round = 0; round < 20; round++) await lookup('shop')
    assert.ok(api.connections() - before <= 3, `${api.connections() - before} connections`)
  })

  it('fails with a clause when there is no such namespace, or none is named', async () => {
    assert.equal(await problemOf('absent'), 'the API server answers 404')
    for (const name of ['', '../secrets', 'a/b', 'shop?x', 'Shop', 'a'.repeat(64)])
      assert.equal(await problemOf(name), 'the review names no namespace')
  })

  it('fails with a clause on any error status, without the body of the answer', async () => {
    for (const status of [401, 403, 500, 503]) {
      api.behave = status
      assert.equal(await problemOf('shop'), `the API server answers ${status}`)
    }
    api.behave = 'answer'
  })

  it('gives up after two seconds when the API server hangs', async () => {
    api.behave = 'hang'
    assert.equal(await problemOf('shop', 'forReviews'), 'no answer within 2000 ms')
    api.behave = 'answer'
  })

  it('fails with a clause when nothing listens', async () => {
    const gone = await fakeApi({})
    const { forReviews } = await apiServer(gone.kubeconfig)
    await gone.close()
    await assert.rejects(namespaceLookup(forReviews)('shop'), (error) =>
      /ECONNREFUSED/.test(kubeProblem(error)),
    )
  })

  it('sends its request again when the API server has ended the kept connection', async () => {
    const lookup = namespaceLookup((await apiServer(api.kubeconfig)).background)
    await lookup('shop')
    api.behave = 'give-up-kept'
    const before = api.connections()
    assert.equal((await lookup('shop')).name, 'shop')
    assert.equal(api.connections() - before, 1)
    api.behave = 'answer'
  })

  it('reports a missing kubeconfig in a sentence', async () => {
    await assert.rejects(apiServer('/nonexistent/kubeconfig'), /--kubeconfig: there is no file \/nonexistent/)
  })

  it('fails with a sentence outside a pod without a kubeconfig, and does not try localhost:8080', async () => {
    await assert.rejects(apiServer(undefined), /give --kubeconfig/)
  })

  it('counts the API server as unreachable until its first answer, then only after three failures in a row', async () => {
    const watch = watchReachability((await apiServer(api.kubeconfig)).forReviews, 5)
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
    const lookup = coalesced((name) => {
      const { promise, resolve, reject } = Promise.withResolvers<Namespace>()
      const answer = (label: string) => resolve({ name, labels: { label }, annotations: {} })
      reads.push({ name, answer, fail: () => reject(new Error('as arranged')) })
      return promise
    })
    return { lookup, reads }
  }

  it('share a read that began after all of them, so that none gets an answer older than its question', async () => {
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

  it('read again afterwards, even after a failure, and never wait for another namespace', async () => {
    const { lookup, reads } = counted()
    const [first, waiting, other] = [lookup('shop'), lookup('shop'), lookup('jobs')]
    assert.deepEqual(
      reads.map(({ name }) => name),
      ['shop', 'jobs'],
    )
    reads[1]?.answer('x')
    await other
    reads[0]?.fail()
    await assert.rejects(first, /as arranged/)
    await until(() => reads.length === 3)
    reads[2]?.answer('y')
    assert.deepEqual((await waiting).labels, { label: 'y' })
    const last = lookup('shop')
    assert.equal(reads.length, 4)
    reads[3]?.answer('z')
    assert.deepEqual((await last).labels, { label: 'z' })
  })
})
