/** Roles from service accounts at issuance: when the frozen role counts, and how the account's own list restricts it. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { until } from '../support/until.ts'
import { type TestPod, World } from './world.ts'

const ON = '--service-account-roles=true'

describe('a pod with the role of its service account', () => {
  let world: World
  before(async () => {
    world = await World.start()
    await world.namespace('shop', undefined, { [KEYS.allowedRoles]: '["shop-*"]' })
    await world.namespace('other')
    for (const role of ['shop-orders', 'shop-other', 'admin']) await world.role(role)
    await world.broker(ON)
  })
  after(() => world?.stop())

  const env = (role: string) => [
    { name: 'POD2IAM_IDENTITY', value: 'service-account' },
    { name: 'POD2IAM_ROLE', value: role },
  ]
  const podOf = (name: string, role = 'shop-orders', options: object = {}): Promise<TestPod> =>
    world.pod('shop', name, { serviceAccount: name, container: { env: env(role) }, ...options })
  const annotate = (name: string, annotations: Record<string, string | null>, namespace = 'shop') =>
    world.api.admin.patch('serviceaccounts', name, namespace, { metadata: { annotations } })
  const detail = async (pod: TestPod) => (await world.ask(pod)).body.detail ?? 'ok'

  it('gets that role, also when the account’s annotation has changed since', async () => {
    const pod = await podOf('frozen')
    const { body } = await world.ask(pod)
    assert.equal(body.RoleArn, 'arn:aws:iam::111111111111:role/shop-orders')
    await annotate('frozen', { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::111111111111:role/shop-other' })
    assert.equal((await world.ask(pod)).body.RoleArn, body.RoleArn)
  })
  it('gets no role that its namespace does not allow', async () => {
    assert.match(await detail(await podOf('forged', 'admin')), /namespace shop may not use role .*admin/)
  })
  it('is refused once a role is annotated on it, or when its sidecar has no role', async () => {
    const annotated = await podOf('annotated', 'shop-orders', { annotations: { [KEYS.role]: 'shop-orders' } })
    assert.match(
      await detail(annotated),
      /^annotation iam\.amazonaws\.com\/role of pod shop\/annotated was changed/,
    )
    const other = await podOf('changed', 'shop-orders', { annotations: { [KEYS.role]: 'shop-other' } })
    assert.match(
      await detail(other),
      /^annotation iam\.amazonaws\.com\/role of pod shop\/changed was changed/,
    )
    const bare = { container: { env: env('').slice(0, 1) } }
    assert.equal(await world.code(await podOf('bare', '', bare)), 'identity-changed')
  })
  it('is restricted by its account’s list, like pods with an annotation, and not by the list of another namespace', async () => {
    await world.api.admin.create({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'narrow', namespace: 'other', annotations: { [KEYS.allowedRoles]: '[]' } },
    })
    // All pods are created first, because `pod` also applies their account without annotations.
    const pods = []
    for (const annotated of [true, false])
      for (const role of ['shop-other', 'shop-orders']) {
        const asks = annotated ? { role } : { container: { env: env(role) } }
        const name = `${role}-${annotated}`
        pods.push({ role, pod: await world.pod('shop', name, { serviceAccount: 'narrow', ...asks }) })
      }
    await annotate('narrow', { [KEYS.allowedRoles]: '["shop-other"]' })
    for (const { role, pod } of pods)
      if (role === 'shop-other') assert.equal(await world.code(pod), 'ok')
      else
        assert.match(
          await detail(pod),
          /service account shop\/narrow may not use role .*shop-orders.*does not list it/,
        )
    const malformed = await podOf('malformed')
    await annotate('malformed', { [KEYS.allowedRoles]: 'shop-*' })
    await world.broker(ON)
    assert.match(
      await detail(malformed),
      /service account shop\/malformed is not a JSON array.*nothing is allowed/,
    )
  })
  it('is refused when its account has been deleted', async () => {
    const pod = await podOf('deleted')
    await world.api.admin.delete('serviceaccounts', 'deleted', 'shop')
    assert.match(await detail(pod), /its service account shop\/deleted does not exist any more/)
  })
  it('is refused by a broker without --service-account-roles, which reads no account', async () => {
    const pod = await podOf('off')
    const annotated = await world.pod('shop', 'annotated-off', { serviceAccount: 'off', role: 'shop-orders' })
    await annotate('off', { [KEYS.allowedRoles]: '[]' })
    await world.broker()
    assert.match(
      await detail(pod),
      /this node’s broker takes no roles from there \(--service-account-roles\)/,
    )
    assert.equal(await world.code(annotated), 'ok')
    await world.broker(ON)
    assert.match(await detail(annotated), /service account shop\/off may not use role/)
  })
  it('gets a retryable error that names the missing right while the broker may not read accounts', async () => {
    const pod = await podOf('forbidden')
    const role = await world.api.admin.get('clusterroles', 'broker')
    const rules = (role as unknown as { rules: { resources: string[] }[] }).rules
    const without = rules.filter(({ resources }) => !resources.includes('serviceaccounts'))
    await world.api.admin.patch('clusterroles', 'broker', undefined, { rules: without })
    await world.broker(ON)
    const { status, body } = await world.ask(pod)
    assert.equal(status, 503)
    assert.match(body.detail ?? '', /may not be read.*verb get, resource serviceaccounts/)
    await world.api.admin.patch('clusterroles', 'broker', undefined, { rules })
    await world.broker(ON)
    assert.equal(await world.code(pod), 'ok')
  })
  it('has its session fetched before its sidecar asks', async () => {
    const pod = await podOf('starting', 'shop-orders', { phase: 'Pending', hostIP: '10.0.0.1' })
    await until(async () => {
      const calls = await world.aws.calls({ role: 'shop-orders' })
      return calls.some((call) => JSON.stringify(call).includes('shop.starting'))
    })
    assert.equal(await world.code(pod), 'ok')
  })
})
