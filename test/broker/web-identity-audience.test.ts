/** What becomes of running pods when the operator changes the audience of web identity tokens. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { Problem } from '../../common/protocol.ts'
import { webIdentityChecker } from '../../node-guard/broker/authenticate/web-identity.ts'
import type { PodRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { NODE, World } from './world.ts'

const SUBJECT = 'system:serviceaccount:shop:orders'
const [OLD, NEW] = ['sts.amazonaws.com', 'sts.example']
let world: World
let count = 0
before(async () => {
  world = await World.start()
  await world.namespace('shop')
  await world.aws.setNodePolicy([])
  await world.federatedRole('app', SUBJECT)
  await world.provider({ clientIds: [OLD, NEW] })
})
after(() => world?.stop())

const broker = (audience: string, ...further: string[]) =>
  world.broker(
    '--credential-sources=web-identity',
    '--base-role-arn=arn:aws:iam::111111111111:role/',
    `--web-identity-audience=${audience}`,
    ...further.map((one) => `--web-identity-further-audiences=${one}`),
  )
const OPTIONS = { role: 'app', serviceAccount: 'orders', source: 'web-identity' } as const
const pod = () => world.pod('shop', `orders-${++count}`, OPTIONS)

test('a pod keeps its credentials when the audience changes, while that of its token is among the further ones', async () => {
  await broker(OLD)
  const running = await pod()
  assert.equal(await world.code(running), 'ok')
  await broker(NEW, OLD)
  assert.equal(await world.code(running), 'ok')
})

test('a broker that has not changed yet serves new pods, if their audience is among the further ones', async () => {
  await broker('vault', OLD)
  assert.equal(await world.code(await pod()), 'ok')
})

test('a token of any other audience is refused, with the ones that are accepted', async () => {
  await broker(NEW, 'vault')
  const { body } = await world.ask(await pod())
  assert.equal(body.code, 'token-invalid')
  assert.match(body.detail ?? '', /its audience is not sts\.example or vault$/)
})

test('a token with the cluster’s issuer as audience is not sent to AWS, because the API server would accept it', async () => {
  const issuer = 'https://issuer.example'
  const keys = { current: () => ({ issuer, key: () => assert.fail('nothing is verified') }) }
  const check = webIdentityChecker(keys as never, ['vault', issuer], systemClock, NODE)
  await assert.rejects(check('a.b.c', { namespace: 'shop', name: 'orders' } as PodRecord), (error) => {
    assert.ok(error instanceof Problem)
    assert.equal(error.code, 'token-invalid')
    assert.match(error.message, /its audience is the cluster’s issuer; set --web-identity-audience/)
    return true
  })
})
