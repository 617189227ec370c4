/** What the broker knows of service accounts, and for how long. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { KubeError } from '../../common/kube/client.ts'
import { Problem } from '../../common/protocol.ts'
import { accountRecord, serviceAccounts } from '../../node-guard/broker/kubernetes/service-accounts.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { until } from '../support/until.ts'

const POD = { namespace: 'shop', serviceAccount: 'orders' }
const PATH = '/api/v1/namespaces/shop/serviceaccounts/orders'

describe('what the broker knows of a service account', () => {
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
    accounts.subscribe((namespace) => changed.push(namespace))
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
        return `${error.code}: ${error.message}`
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
    assert.deepEqual(changed, ['shop', 'shop'])
    await clock.advance(11_000)
    await accounts.read(POD)
    assert.deepEqual(changed, ['shop', 'shop'])
  })
  it('is learned once for what is decided without waiting', async () => {
    const { accounts, asked, fails, answerWith } = stand()
    accounts.learn(POD)
    await until(() => accounts.get(POD) !== undefined)
    accounts.learn(POD)
    answerWith(fails(500))
    accounts.learn({ ...POD, serviceAccount: 'other' })
    await until(() => asked.length === 2)
  })
  it('outlives an outage of the API server for a day, and neither a refusal nor its deletion', async () => {
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
      /^busy: service account shop\/orders may not be read.*verb get, resource serviceaccounts/,
    )
    answerWith(fails(500))
    await clock.advance(24 * 3_600_000)
    assert.match(await problem(accounts.read(POD)), /^busy: service account shop\/orders could not be read/)
    assert.equal(accounts.get(POD), undefined)
    answerWith(fails(404))
    await clock.advance(11_000)
    assert.deepEqual(await accounts.read(POD), { exists: false, list: undefined })
  })
  it('is not old knowledge for a pod that asks too often', async () => {
    const { accounts, clock } = stand()
    await accounts.read(POD)
    await clock.advance(11_000)
    const others = Array.from({ length: 40 }, (_, index) =>
      accounts.read({ ...POD, serviceAccount: `a${index}` }).catch((error) => error),
    )
    assert.match(await problem(accounts.read(POD)), /^busy: .*too many pods are asking/)
    await Promise.all(others)
  })
  it('is bounded, so that a longer list allows nothing', () => {
    const { list } = accountRecord({
      metadata: { name: 'a', annotations: { [KEYS.allowedRoles]: 'x'.repeat(99_999) } },
    })
    assert.equal(list?.length, 16_385)
    assert.deepEqual(accountRecord(undefined), { exists: false, list: undefined })
  })
})
