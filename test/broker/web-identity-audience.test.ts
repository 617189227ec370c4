/** What becomes of running pods when the operator changes the audience of web identity tokens. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { World } from './world.ts'

const SUBJECT = 'system:serviceaccount:shop:orders'
let world: World
before(async () => {
  world = await World.start()
  await world.namespace('shop')
  await world.aws.setNodePolicy([])
  await world.federatedRole('app', SUBJECT)
  await world.provider({ clientIds: ['sts.amazonaws.com', 'sts.example'] })
})
after(() => world?.stop())

test('a pod keeps its credentials when the audience changes, as its token is of the one it was created with', async () => {
  await world.broker('--credential-sources=web-identity')
  const pod = await world.pod('shop', 'orders-1', { role: 'app', serviceAccount: 'orders', source: 'web-identity' })
  assert.equal(await world.code(pod), 'ok')
  await world.broker('--credential-sources=web-identity', '--web-identity-audience=sts.example')
  const { body } = await world.ask(pod)
  assert.equal(body.code, 'Success', body.detail)
})
