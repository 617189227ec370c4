/** Sessions whose end, as STS states it, is further away than a timer reaches, or is past. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../support/until.ts'
import { World } from './world.ts'

let world: World
before(async () => {
  world = await World.start()
  await world.namespace('shop')
  await world.aws.setNodePolicy([])
  await world.federatedRole('app', 'system:serviceaccount:shop:orders')
  await world.broker('--credential-sources=web-identity', '--base-role-arn=arn:aws:iam::111111111111:role/')
})
after(() => world?.stop())

const ending = (end: string) => ({
  service: 'sts' as const,
  kind: 'answer' as const,
  status: 200,
  contentType: 'text/xml',
  body:
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>' +
    `<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>${end}</Expiration>` +
    '</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>',
})
const OPTIONS = { role: 'app', serviceAccount: 'orders', source: 'web-identity' } as const

test('a session with an end in a far year costs no processor time', async () => {
  const id = await world.aws.fault(ending('9999-12-31T00:00:00Z'))
  await world.ask(await world.pod('shop', 'far', OPTIONS))
  await world.aws.clearFaults(id)
  const before = process.cpuUsage()
  await sleep(2000)
  const { user, system } = process.cpuUsage(before)
  assert.ok(user + system < 400_000, `${(user + system) / 1000} ms of processor time in two seconds`)
})

test('a session that has expired when it comes is no credentials', async () => {
  const id = await world.aws.fault(ending('1970-01-01T00:00:00Z'))
  const pod = await world.pod('shop', 'past', OPTIONS)
  const { status, body } = await world.ask(pod)
  await world.aws.clearFaults(id)
  assert.deepEqual([status, body.code], [503, 'sts-unavailable'])
  assert.match(body.detail ?? '', /ends at 1970-01-01T00:00:00\.000Z.*compare the clock of the node/)
  // STS would give a good one now, but is not asked before the pause is over.
  assert.equal(await world.code(pod), 'sts-unavailable')
  await until('the pause is over', async () => (await world.code(pod)) === 'ok')
})
