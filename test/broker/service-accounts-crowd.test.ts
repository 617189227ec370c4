/** What one tenant's many service accounts do to what is known of another's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceAccounts } from '../../node-guard/broker/kubernetes/service-accounts.ts'
import { fakeClock } from '../support/fake-clock.ts'

test('a tenant whose pods come and go with a service account each does not make the broker forget those of others', async () => {
  const clock = fakeClock()
  let isUp = true
  const kube = {
    get: async (path: string) => {
      if (!isUp) throw new Error('connect ECONNREFUSED')
      return { metadata: { name: path.slice(path.lastIndexOf('/') + 1) } }
    },
  }
  const accounts = serviceAccounts(kube, clock)
  const victim = { namespace: 'shop', serviceAccount: 'orders' }
  await accounts.read(victim)
  for (let index = 0; index < 512; index++) {
    await accounts.read({ namespace: 'tenant', serviceAccount: `short-lived-${index}` })
    await clock.advance(1000)
  }
  isUp = false
  assert.deepEqual(
    accounts.get(victim),
    { exists: true, list: undefined },
    'its session is dropped at the next review',
  )
  assert.deepEqual(await accounts.read(victim), { exists: true, list: undefined })
})
