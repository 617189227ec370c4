/** How one account's throttling of web identity affects pods whose roles are in other accounts. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { trustWebIdentity } from '../sandbox/aws/client.ts'
import { World } from './world.ts'

const THEIRS = (index: number) => `arn:aws:iam::222222222222:role/theirs-${index}`
let world: World
before(async () => {
  world = await World.start()
  await world.namespace('tenant', undefined, {
    'iam.amazonaws.com/allowed-roles': '["arn:aws:iam::222222222222:role/*"]',
  })
  await world.namespace('shop')
  await world.aws.setNodePolicy([])
  await world.federatedRole('app', 'system:serviceaccount:shop:orders')
})
after(() => world?.stop())

// An unsigned call has no caller whose quota it could use: what throttles it is the account of the role, which may be a tenant's own.
test('an account that throttles calls by web identity does not slow those for roles of other accounts', async () => {
  const provider = await world.provider()
  for (let index = 0; index < 12; index++) {
    await world.aws.putRole({
      arn: THEIRS(index),
      trustPolicy: trustWebIdentity({ provider, subject: 'system:serviceaccount:tenant:orders' }),
    })
    await world.aws.fault({ service: 'sts', kind: 'throttle', role: THEIRS(index) })
  }
  await world.broker('--credential-sources=web-identity', '--base-role-arn=arn:aws:iam::111111111111:role/')
  const own = { serviceAccount: 'orders', source: 'web-identity' } as const
  const until = Date.now() + 20_000
  const asking = Array.from({ length: 12 }, async (_, index) => {
    const pod = await world.pod('tenant', `pod-${index}`, { ...own, role: THEIRS(index) })
    while (Date.now() < until) {
      await world.ask(pod)
      await sleep(250)
    }
  })
  await sleep(15_000)
  const victim = await world.pod('shop', 'orders-1', { ...own, role: 'app' })
  const began = Date.now()
  const { status, body } = await world.ask(victim)
  assert.deepEqual([status, body.Role], [200, 'app'], body.detail)
  assert.ok(Date.now() - began < 3000, `after ${Date.now() - began} ms`)
  await Promise.all(asking)
})
