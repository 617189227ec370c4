/** What operators see of issuance: an audit line each time, and metrics whose number does not depend on pods. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { World } from './world.ts'

let world: World
let made = 0

before(async () => {
  world = await World.start()
  await Promise.all([
    world.role('app'),
    world.namespace('shop'),
    world.role('guarded', { externalId: 'hush-hush' }),
  ])
  await world.broker()
})
after(() => world.stop())

test('every outcome of STS calls has a metric of 0 before the first call, so that a rate includes the first', async () => {
  const outcomes = (await world.metrics()).match(/^pod2iam_broker_sts_calls_total\{.*/gm) ?? []
  assert.equal(outcomes.length, 7)
  for (const line of outcomes) assert.match(line, / 0$/)
})

test('the metrics show which settings restrict the roles of pods', async () => {
  const restrictions = async () => {
    const text = await world.metrics()
    return Object.fromEntries(
      [...text.matchAll(/^pod2iam_broker_role_restrictions\{by="(.+)"\} (.)$/gm)].map(([, by, is]) => [
        by,
        is,
      ]),
    )
  }
  assert.deepEqual(await restrictions(), { namespace: '1', 'permitted-roles': '0' })
  await world.broker('--namespace-restrictions=false', '--permitted-roles=arn:aws:iam::111111111111:role/*')
  assert.deepEqual(await restrictions(), { namespace: '0', 'permitted-roles': '1' })
  await world.broker()
})

test('every issuance has an audit line with pod, role, session, expiration and reason, but without keys and external id', async () => {
  const issued: { uid: string; role: string; body: Record<string, string> }[] = []
  for (const role of ['app', 'guarded', 'app']) {
    const annotations = role === 'guarded' ? { [KEYS.externalId]: 'hush-hush' } : {}
    const pod = await world.pod('shop', `audited-${made++}`, { role, annotations })
    const { status, body } = await world.ask(pod)
    assert.equal(status, 200)
    // A second answer belongs to the same issuance.
    await world.ask(pod)
    issued.push({ uid: pod.uid, role, body })
  }
  const lines = world.logs.filter(({ audit }) => audit === true)
  assert.deepEqual(
    lines.map(({ level, msg, uid, role, reason }) => ({ level, msg, uid, role, reason })),
    issued.map(({ uid, role }) => ({
      level: 'info',
      msg: 'credentials issued',
      uid,
      role: world.aws.roleArn(role),
      reason: 'first',
    })),
  )
  for (const [index, { pod, sessionName, expiration }] of lines.entries()) {
    assert.equal(sessionName, String(pod).replace('/', '.'))
    assert.equal(String(expiration).slice(0, 19), issued[index]?.body.Expiration?.slice(0, 19))
  }
  const text = JSON.stringify(lines)
  for (const { body } of issued)
    for (const secret of [body.AccessKeyId, body.SecretAccessKey, body.Token, 'hush-hush'])
      assert.ok(secret && !text.includes(secret))
})

test('the number of metric series does not grow with namespaces, pods, roles, peers and tokens', async () => {
  const series = async () => (await world.metrics()).split('\n').filter((line) => /^[^#]/.test(line)).length
  const round = async (count: number) => {
    for (let index = 0; index < count; index++) {
      // A new namespace each time, since one that asks too often before the watch knows its pods gets `busy`, another series.
      const namespace = `shop-${made}`
      await world.namespace(namespace)
      const pod = await world.pod(namespace, `pod-${made++}`, { role: `role-${made}` })
      await world.code(pod)
      await world.code({ ...pod, token: `x.${index}.y` })
      await world.code({ ...pod, ip: '127.66.3.1' })
      await world.request(`/v1/${index}`)
      await world.code(await world.pod(namespace, `pod-${made++}`, { role: 'app' }))
    }
  }
  await round(2)
  const before = await series()
  await round(20)
  assert.equal(await series(), before)
})
