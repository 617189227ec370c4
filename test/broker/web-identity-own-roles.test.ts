/** By web identity, too, nobody gets a role that is the node's own, wherever it is known from. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { World } from './world.ts'

const HOP = 'arn:aws:iam::111111111111:role/hop'
const SUBJECT = 'system:serviceaccount:shop:orders'
let world: World
before(async () => {
  world = await World.start()
  await world.namespace('shop')
  await world.aws.setNodePolicy([{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }])
})
after(() => world?.stop())

test('the stable hop is refused to pods of the source web-identity, even where it trusts their service account', async () => {
  await world.federatedRole('hop', SUBJECT)
  await world.broker('--credential-sources=node-role,web-identity', `--assume-role-arn=${HOP}`)
  const options = { role: 'hop', serviceAccount: 'orders', source: 'web-identity' } as const
  const { body } = await world.ask(await world.pod('shop', 'orders-1', options))
  assert.equal(body.code, 'role-not-allowed', body.detail)
  assert.match(body.detail ?? '', /the node’s own role/)
})
