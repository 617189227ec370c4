import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  annotatedIdentity,
  identityEnv,
  identityOfAnnotations,
  identityOfEnv,
  type PodIdentity,
  sameIdentity,
  withAccountRole,
} from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'

const IDENTITY = {
  ...({
    source: 'annotation',
    role: 'r',
    externalId: 'e',
    sessionName: 's',
    sessionPolicies: '["p"]',
  } as const),
} as const

test('a pod with a role annotation is who its annotations say', () => {
  const annotations = {
    [KEYS.role]: 'r',
    [KEYS.externalId]: 'e',
    [KEYS.sessionName]: 's',
    [KEYS.sessionPolicyArns]: '["p"]',
  }
  assert.deepEqual(identityOfAnnotations(annotations, KEYS.role), IDENTITY)
})

test('an empty role annotation is an annotation, as in kube2iam', () => {
  assert.equal(identityOfAnnotations({ [KEYS.role]: '' }, KEYS.role).source, 'annotation')
})

test('the role annotation’s key is the configured one, and the usual key then means nothing', () => {
  assert.equal(identityOfAnnotations({ 'example.com/role': 'r' }, 'example.com/role').role, 'r')
  assert.equal(identityOfAnnotations({ [KEYS.role]: 'r' }, 'example.com/role').source, 'default')
})

test('a pod without annotations is served by a default', () => {
  for (const annotations of [undefined, {}, { other: 'x' }])
    assert.deepEqual(identityOfAnnotations(annotations, KEYS.role), {
      source: 'default',
      role: undefined,
      externalId: undefined,
      sessionName: undefined,
      sessionPolicies: undefined,
    })
})

test('a pod that asked for metadata only has no role, whatever else it says', () => {
  const identity = identityOfAnnotations({ [KEYS.inject]: 'metadata', [KEYS.role]: 'r' }, KEYS.role)
  assert.deepEqual([identity.source, identity.role], ['none', undefined])
})

test('an identity survives its way through the sidecar’s env', () => {
  const text = fc.option(fc.string(), { nil: undefined })
  const identities = fc.record({
    source: fc.constantFrom('annotation', 'default', 'none'),
    role: text,
    externalId: text,
    sessionName: text,
    sessionPolicies: text,
  })
  fc.assert(
    fc.property(identities, (identity) => {
      const other = { name: 'POD2IAM_BROKER_URL', value: 'x' }
      const back = identityOfEnv([other, ...identityEnv(identity as PodIdentity)])
      assert.ok(back && sameIdentity(back, identity as PodIdentity))
    }),
  )
})

test('an env that is not ours carries no identity', () => {
  assert.equal(identityOfEnv(undefined), undefined)
  assert.equal(identityOfEnv([]), undefined)
  assert.equal(identityOfEnv([{ name: 'POD2IAM_ROLE', value: 'r' }]), undefined)
  assert.equal(identityOfEnv([{ name: 'POD2IAM_IDENTITY', value: 'root' }]), undefined)
})

test('an env in which source and session policies do not belong together carries no identity: neither can be taken out by itself', () => {
  const narrowed = identityEnv(IDENTITY)
  assert.equal(narrowed[0]?.value, 'annotation-narrowed')
  assert.equal(identityOfEnv(narrowed.filter(({ name }) => name !== 'POD2IAM_SESSION_POLICIES')), undefined)
  const plain = identityEnv({ ...IDENTITY, sessionPolicies: undefined })
  assert.equal(identityOfEnv([...plain, { name: 'POD2IAM_SESSION_POLICIES', value: '["p"]' }]), undefined)
})

test('identities differ when any part of them does', () => {
  for (const part of ['source', 'role', 'externalId', 'sessionName', 'sessionPolicies'] as const)
    assert.equal(sameIdentity(IDENTITY, { ...IDENTITY, [part]: 'none' } as PodIdentity), false)
  assert.equal(sameIdentity(IDENTITY, { ...IDENTITY }), true)
})

test('the service account’s role is that of a pod which says nothing itself', () => {
  const asks = (annotations: Record<string, string>) =>
    withAccountRole(identityOfAnnotations(annotations, KEYS.role), 'own')
  const plain = identityOfAnnotations({}, KEYS.role)
  assert.deepEqual(asks({}), { ...plain, source: 'service-account', role: 'own' })
  assert.equal(withAccountRole(plain, undefined), plain)
  assert.equal(asks({ [KEYS.role]: 'r' }).role, 'r')
  assert.equal(asks({ [KEYS.inject]: 'metadata' }).source, 'none')
})

test('a role of the service account agrees with annotations that name none, and with no others', () => {
  const frozen = identityOfEnv([
    { name: 'POD2IAM_IDENTITY', value: 'service-account' },
    { name: 'POD2IAM_ROLE', value: 'own' },
  ])
  assert.ok(frozen)
  const agrees = (annotations: Record<string, string>, of: PodIdentity = frozen) =>
    sameIdentity(of, annotatedIdentity(annotations, KEYS.role, of))
  assert.ok(agrees({}))
  for (const annotations of [
    { [KEYS.role]: 'own' },
    { [KEYS.role]: 'r' },
    { [KEYS.inject]: 'metadata' },
    { [KEYS.externalId]: 'e' },
    { [KEYS.sessionName]: 's' },
  ])
    assert.ok(!agrees(annotations))
  assert.ok(!agrees({}, { ...frozen, role: undefined }))
  assert.ok(!agrees({}, { ...frozen, source: 'annotation' }))
  assert.ok(agrees({}, { ...frozen, source: 'default', role: undefined }))
})
