/**
 * The behaviour that users of kiam know (version 4.2 and its tests), row by row: the same here, or the difference that
 * makes it safe. Its regexps are in test/common/policy.test.ts, its spellings of roles in test/common/role.test.ts, and
 * STS endpoints in endpoints.test.ts.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { sessionName } from '../../node-guard/broker/authorize/session-name.ts'
import { BROKER_SETTINGS } from '../../node-guard/broker/settings.ts'
import { eventually } from '../support/until.ts'
import { type PodOptions, World } from './world.ts'

/** The server's flags, the setting here with the same purpose, and its default. */
const FLAGS: readonly [flag: string, setting: keyof typeof BROKER_SETTINGS, ours: unknown, why: string][] = [
  ['--role-base-arn', 'baseRoleArn', undefined, 'the same; discovered when left out, without another flag'],
  ['--session-duration', 'sessionDuration', 3600, 'one hour; in kiam 15 minutes'],
  ['--assume-role-arn', 'assumeRoleArn', undefined, 'the same; not used when left out, which v4.2 cannot'],
  [
    '--region',
    'region',
    undefined,
    'otherwise that of the environment or the node; in kiam the global endpoint',
  ],
  ['--kubeconfig', 'kubeconfig', undefined, 'the same'],
]
for (const [flag, setting, ours, why] of FLAGS)
  test(`${flag} is ${setting}, ${ours ?? 'nothing'} by default: ${why}`, () => {
    assert.equal(BROKER_SETTINGS[setting].fallback?.(), ours)
  })

test('--fetchers, --session-refresh and --prefetch-buffer-size have no equivalent, since what they tune has fixed limits', () => {
  assert.deepEqual(
    Object.keys(BROKER_SETTINGS).filter((name) => /fetch|refresh|buffer|session$/i.test(name)),
    [],
  )
  assert.equal(BROKER_SETTINGS.stsConcurrency.fallback?.(), 10)
})

/** In kiam `kiam-<annotation>`, cut to 63 characters; here with the namespace first, so that no other can use the name. */
const NAMES: readonly [annotation: string | undefined, ours: RegExp][] = [
  ['testing', /^shop\.testing$/],
  // Two names that differ only in illegal characters must not become the same.
  ['testing@#&-test%', /^shop\.testing@---test--[0-9a-f]{20}$/],
  ['my session/1:2', /^shop\.my-session-1-2-[0-9a-f]{20}$/],
  [
    'Unsplvku4rP9A71Zb5DUQtKviVKSENh0GlKxVRPXGvfDyXXXy8OGqTVfc05DCAhKT9oHXU',
    /^shop\.Unsplvku4rP9A71Zb5DUQtKviVKSENh0GlKxVR-[0-9a-f]{20}$/,
  ],
  [undefined, /^shop\.web$/],
  ['', /^shop\.web$/],
  ['a'.repeat(59), /^shop\.a{59}$/],
  ['a'.repeat(60), /^shop\.a{38}-[0-9a-f]{20}$/],
]
for (const [annotation, ours] of NAMES)
  test(`session-name ${annotation === undefined ? 'left out' : JSON.stringify(annotation.slice(0, 20))} of ${annotation?.length ?? 0} characters becomes ${ours.source}`, () => {
    const name = sessionName({ namespace: 'shop', name: 'web', uid: 'u' }, annotation)
    assert.match(name, ours)
    assert.ok(name.length <= 64)
  })

describe('through the whole broker', () => {
  let world: World
  let made = 0
  const permitted = (regexp: string) => ({ [KEYS.permitted]: regexp })
  const ENABLED = { [KEYS.injection]: 'enabled' }

  before(async () => {
    world = await World.start()
    for (const role of ['red_role', 'orange_role', 'subpath/red_role']) await world.role(role)
    await world.namespace('red', ENABLED, permitted('.*/red_role'))
    await world.namespace('nothing', ENABLED, {})
    await world.namespace('empty', ENABLED, permitted(''))
    await world.namespace('name', ENABLED, permitted('red_role'))
    await world.broker()
  })
  after(() => world.stop())
  const pod = (namespace: string, options: PodOptions = {}) =>
    world.pod(namespace, `pod-${made++}`, { role: 'red_role', ...options })

  const POLICY: readonly [what: string, namespace: string, role: string, code: string][] = [
    ['permitted', 'red', 'red_role', 'ok'],
    ['permitted, with a leading slash', 'red', '/red_role', 'ok'],
    ['permitted, with a path', 'red', 'subpath/red_role', 'ok'],
    ['not permitted', 'red', 'orange_role', 'role-not-allowed'],
    ['no annotation on the namespace', 'nothing', 'red_role', 'role-not-allowed'],
    ['an empty annotation on the namespace', 'empty', 'red_role', 'role-not-allowed'],
    ['an expression on the name alone, as before v4', 'name', 'red_role', 'role-not-allowed'],
  ]
  for (const [what, namespace, role, code] of POLICY)
    test(`${role}, ${what}: ${code}`, async () => {
      assert.equal(await world.code(await pod(namespace, { role })), code)
    })

  test('a pod without role is refused with role-not-set and 404', async () => {
    const { status, body } = await world.ask(await world.pod('red', `pod-${made++}`))
    assert.deepEqual([status, body.code], [404, 'role-not-set'])
  })

  test('a refusal becomes an Event on the pod, also one by STS', async () => {
    const forbidden = await pod('red', { role: 'orange_role' })
    await world.code(forbidden)
    await world.namespace('free')
    const denied = await pod('free', { role: 'nobodys' })
    await world.code(denied)
    await eventually('both Events', async () => {
      const { items } = await world.api.admin.list('events', {})
      const text = JSON.stringify(items)
      return text.includes('RoleNotAllowed') && text.includes('AssumeRoleDenied')
    })
  })

  test('concurrent requests share one STS call, which goes on when one of the clients disconnects', async () => {
    const one = await pod('red')
    const fault = await world.aws.fault({ service: 'sts', kind: 'slow', ms: 300 })
    const leaving = AbortSignal.timeout(50)
    const left = world
      .request('/v1/credentials', {
        localAddress: one.ip,
        headers: { authorization: `Bearer ${one.token}` },
        signal: leaving,
      })
      .then(
        () => 'answered',
        () => 'left',
      )
    const others = [world.code(one), world.code(one)]
    assert.deepEqual(await Promise.all([left, ...others]), ['left', 'ok', 'ok'])
    await world.aws.clearFaults(fault)
    assert.equal((await world.aws.calls({ session: `red.${one.name}` })).length, 1)
  })

  const starting = { podIPs: [], phase: 'Pending', hostIP: '10.0.0.1' }
  const calls = async (name: string) => (await world.aws.calls({ session: `red.${name}` })).length

  test('prefetch: the session of a starting pod is fetched ahead with its session name and external id, that of a failed pod is not', async () => {
    const failed = await pod('red', { ...starting, phase: 'Failed' })
    const annotations = { [KEYS.sessionName]: 'mine', [KEYS.externalId]: 'id-1' }
    await pod('red', { ...starting, annotations })
    const [call] = await eventually('prefetched', async () => {
      const found = await world.aws.calls({ session: 'red.mine' })
      return found.length > 0 ? found : undefined
    })
    assert.equal(call?.externalId, 'id-1')
    assert.equal(await calls(failed.name), 0)
  })

  test('prefetch: the session of a pod that is bound later is fetched when it starts here, which kiam does not notice', async () => {
    const one = await pod('red', { podIPs: [] })
    const status = { hostIP: '10.0.0.1', hostIPs: [{ ip: '10.0.0.1' }] }
    await world.api.admin.patch('pods', one.name, 'red', { status }, { type: 'merge', subresource: 'status' })
    await eventually('prefetched', async () => (await calls(one.name)) === 1)
  })

  test('prefetch: a role that the policy forbids is never requested from STS, unlike in kiam', async () => {
    const forbidden = await pod('red', { ...starting, role: 'orange_role' })
    const allowed = await pod('red', starting)
    await eventually('prefetched', async () => (await calls(allowed.name)) === 1)
    assert.equal(await calls(forbidden.name), 0)
  })

  test('pods of the same role with another session name or external id do not share credentials', async () => {
    await world.role('guarded', { externalId: 'right' })
    await world.namespace('both', ENABLED, permitted('.*/guarded'))
    const one = (annotations: Record<string, string>) => pod('both', { role: 'guarded', annotations })
    const right = { [KEYS.externalId]: 'right' }
    const answers = [
      await world.ask(await one(right)),
      await world.ask(await one({ ...right, [KEYS.sessionName]: 'b' })),
      await world.ask(await one({ [KEYS.externalId]: 'wrong' })),
    ]
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 403],
    )
    assert.notEqual(answers[0]?.body.AccessKeyId, answers[1]?.body.AccessKeyId)
  })

  test('an AWS error is reported with its own text and code', async () => {
    const one = await pod('red')
    await world.aws.fault({
      service: 'sts',
      kind: 'error',
      status: 400,
      code: 'PackedPolicyTooLarge',
      message: 'too large',
    })
    const { status, body } = await world.ask(one)
    await world.aws.clearFaults()
    assert.deepEqual([status, body.code], [403, 'sts-invalid'])
    assert.match(body.detail ?? '', /PackedPolicyTooLargeException: too large/)
  })
})
