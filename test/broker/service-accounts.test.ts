/** What the broker knows about service accounts, and for how long. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { KubeError } from '../../common/kube/client.ts'
import { Problem } from '../../common/protocol.ts'
import { type PodRecord, podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { accountRecord, serviceAccounts } from '../../node-guard/broker/kubernetes/service-accounts.ts'
import { warmUp } from '../../node-guard/broker/sessions/warm-up.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { until } from '../support/until.ts'

const POD = { namespace: 'shop', serviceAccount: 'orders' }
const PATH = '/api/v1/namespaces/shop/serviceaccounts/orders'

describe('the cached record of a service account', () => {
  const stand = () => {
    const clock = fakeClock()
    const asked: string[] = []
    let answer: () => unknown = () => ({ metadata: { name: 'orders' } })
    const kube = {
      get: async (path: string) => {
        asked.push(path)
        return answer()
      },
    }
    const accounts = serviceAccounts(kube, clock)
    const changed: string[] = []
    accounts.subscribe(({ namespace, serviceAccount }) => changed.push(`${namespace}/${serviceAccount}`))
    const lists = (list: string) => () => ({
      metadata: { name: 'orders', annotations: { [KEYS.allowedRoles]: list, other: 'x' } },
    })
    const fails = (status: number) => () => {
      throw new KubeError(status, 'refused')
    }
    return {
      ...{ clock, accounts, asked, changed, lists, fails },
      answerWith: (next: () => unknown) => {
        answer = next
      },
    }
  }
  const problem = (reading: Promise<unknown>) =>
    reading.then(
      () => assert.fail('it was read'),
      (error: unknown) => {
        assert.ok(error instanceof Problem)
        return `${error.code}: ${error.message} (${error.retryAfter} s)`
      },
    )

  it('is read when a pod asks, by its name alone, and used for ten seconds', async () => {
    const { accounts, asked, clock, lists, answerWith, changed } = stand()
    assert.equal(accounts.get(POD), undefined)
    assert.deepEqual(await accounts.read(POD), { exists: true, list: undefined })
    answerWith(lists('[]'))
    await clock.advance(9_000)
    assert.equal((await accounts.read(POD)).list, undefined)
    await clock.advance(2_000)
    assert.equal((await accounts.read(POD)).list, '[]')
    assert.equal(accounts.get(POD)?.list, '[]')
    assert.deepEqual(asked, [PATH, PATH])
    assert.deepEqual(changed, ['shop/orders', 'shop/orders'])
    await clock.advance(11_000)
    await accounts.read(POD)
    assert.deepEqual(changed, ['shop/orders', 'shop/orders'])
  })
  it('is read once in the background for a decision that cannot wait', async () => {
    const { accounts, asked, fails, answerWith } = stand()
    accounts.load(POD)
    await until(() => accounts.get(POD) !== undefined)
    accounts.load(POD)
    answerWith(fails(500))
    accounts.load({ ...POD, serviceAccount: 'other' })
    await until(() => asked.length === 2)
  })
  it('is kept for a day while the API server is away, but not after a refusal or a deletion', async () => {
    const { accounts, clock, fails, lists, answerWith } = stand()
    answerWith(lists('["a"]'))
    await accounts.read(POD)
    for (const away of [
      fails(503),
      fails(429),
      () => {
        throw new Error('connect ECONNREFUSED')
      },
    ]) {
      answerWith(away)
      await clock.advance(11_000)
      assert.equal((await accounts.read(POD)).list, '["a"]')
    }
    answerWith(fails(403))
    await clock.advance(11_000)
    assert.match(
      await problem(accounts.read(POD)),
      /^busy: service account shop\/orders may not be read.*verb get, resource serviceaccounts.* \(30 s\)$/,
    )
    answerWith(fails(500))
    await clock.advance(24 * 3_600_000)
    assert.match(
      await problem(accounts.read(POD)),
      /^busy: service account shop\/orders could not be read.* \(2 s\)$/,
    )
    assert.equal(accounts.get(POD), undefined)
    answerWith(fails(404))
    await clock.advance(11_000)
    assert.deepEqual(await accounts.read(POD), { exists: false, list: undefined })
  })
  it('is not used beyond its time when too many pods are asking', async () => {
    const { accounts, clock } = stand()
    await accounts.read(POD)
    await clock.advance(11_000)
    const others = Array.from({ length: 40 }, (_, index) =>
      accounts.read({ ...POD, serviceAccount: `a${index}` }).catch((error) => error),
    )
    assert.match(await problem(accounts.read(POD)), /^busy: .*too many pods are asking/)
    await Promise.all(others)
  })
  it('is forgotten before those of other namespaces where a namespace has too many, the one that was read longest ago first', async () => {
    const { accounts, clock } = stand()
    const account = (namespace: string, index: number) => ({ namespace, serviceAccount: `a${index}` })
    const read = async (...one: Parameters<typeof account>) => {
      await accounts.read(account(...one))
      await clock.advance(1_000)
    }
    const isKnown = (...one: Parameters<typeof account>) => accounts.get(account(...one)) !== undefined
    for (let index = 0; index < 12; index++) await read('quiet', index)
    for (let index = 0; index < 500; index++) await read('busy', index)
    await read('busy', 0)
    await read('busy', 500)
    assert.deepEqual([isKnown('busy', 0), isKnown('busy', 1), isKnown('busy', 2)], [true, false, true])
    await read('busy', 501)
    assert.deepEqual([isKnown('busy', 0), isKnown('busy', 2), isKnown('busy', 3)], [true, false, true])
    for (let index = 0; index < 12; index++) assert.ok(isKnown('quiet', index))
  })
  it('does not keep the text of lists that are too long in memory', () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const longest = (name: string) =>
      accountRecord({
        metadata: {
          name,
          annotations: { [KEYS.allowedRoles]: `${name}${'x'.repeat(250_000)}`.replace('x', 'y') },
        },
      })
    collect()
    const before = process.memoryUsage().heapUsed
    const kept = Array.from({ length: 100 }, (_, index) => longest(`a${index}`))
    collect()
    const grown = process.memoryUsage().heapUsed - before
    assert.equal(kept.length, 100)
    // It was 25 MB when a record kept a slice of its list, and with it the whole text.
    assert.ok(grown < 5_000_000, `${grown} bytes`)
  })
  it('has a list of limited length, so that a longer list allows nothing', () => {
    const { list } = accountRecord({
      metadata: { name: 'a', annotations: { [KEYS.allowedRoles]: 'x'.repeat(99_999) } },
    })
    assert.equal(list?.length, 16_385)
    assert.deepEqual(accountRecord(undefined), { exists: false, list: undefined })
  })
})

const podOf = (name: string, serviceAccount: string) => {
  const env = [{ name: 'POD2IAM_IDENTITY', value: 'default' }]
  const object = {
    metadata: { uid: name, namespace: 'shop', name },
    spec: {
      ...{ serviceAccountName: serviceAccount, nodeName: 'n' },
      initContainers: [{ name: SIDECAR_CONTAINER, restartPolicy: 'Always', env }],
    },
    status: { phase: 'Pending', hostIP: '10.0.0.1' },
  }
  return podRecord(object, KEYS.role) as PodRecord
}
const PODS = new Map(
  [podOf('a', 'orders'), podOf('b', 'other'), podOf('c', 'orders')].map((pod) => [pod.uid, pod]),
)
const refusedWith = (code: 'busy' | 'namespace-not-enabled', judged: string[] = [], learned: string[] = []) =>
  warmUp({
    pods: { all: () => PODS.values() },
    sessions: { warm: () => {} },
    roleKey: KEYS.role,
    load: ({ name }) => learned.push(name),
    entitlement: ({ name }) => {
      judged.push(name)
      throw new Problem(code, 'refused')
    },
  })

describe('warm-up', () => {
  it('evaluates the pods of a changed account again, and no other pods of its namespace', () => {
    const judged: string[] = []
    refusedWith('busy', judged).account(POD)
    assert.deepEqual(judged, ['a', 'c'])
  })
  it('reads the account for a pod that only waits for it, and not for a pod that is refused anyway', () => {
    const learned: string[] = []
    refusedWith('busy', [], learned).pod(podOf('waits', 'orders'))
    refusedWith('namespace-not-enabled', [], learned).pod(podOf('refused', 'orders'))
    assert.deepEqual(learned, ['waits'])
  })
})
