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

test('a pod with a role annotation has the identity that its annotations state', () => {
  const annotations = {
    [KEYS.role]: 'r',
    [KEYS.externalId]: 'e',
    [KEYS.sessionName]: 's',
    [KEYS.sessionPolicyArns]: '["p"]',
  }
  assert.deepEqual(identityOfAnnotations(annotations, KEYS.role), IDENTITY)
})

test('an empty role annotation counts as one, as in kube2iam', () => {
  assert.equal(identityOfAnnotations({ [KEYS.role]: '' }, KEYS.role).source, 'annotation')
})

test('the key of the role annotation is the configured one, and then the usual key means nothing', () => {
  assert.equal(identityOfAnnotations({ 'example.com/role': 'r' }, 'example.com/role').role, 'r')
  assert.equal(identityOfAnnotations({ [KEYS.role]: 'r' }, 'example.com/role').source, 'default')
})

test('a pod without annotations gets a default role', () => {
  for (const annotations of [undefined, {}, { other: 'x' }])
    assert.deepEqual(identityOfAnnotations(annotations, KEYS.role), {
      source: 'default',
      role: undefined,
      externalId: undefined,
      sessionName: undefined,
      sessionPolicies: undefined,
    })
})

test('a pod that requests metadata only has no role, whatever else its annotations say', () => {
  const identity = identityOfAnnotations({ [KEYS.inject]: 'metadata', [KEYS.role]: 'r' }, KEYS.role)
  assert.deepEqual([identity.source, identity.role], ['none', undefined])
})

test('an identity that is written to the sidecar’s env is read back unchanged', () => {
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

test('an env which pod2iam did not write has no identity', () => {
  assert.equal(identityOfEnv(undefined), undefined)
  assert.equal(identityOfEnv([]), undefined)
  assert.equal(identityOfEnv([{ name: 'POD2IAM_ROLE', value: 'r' }]), undefined)
  assert.equal(identityOfEnv([{ name: 'POD2IAM_IDENTITY', value: 'root' }]), undefined)
})

test('an env whose source and session policies do not match has no identity, so that neither can be removed alone', () => {
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

test('a pod whose own annotations state no role gets the role of its service account', () => {
  const asks = (annotations: Record<string, string>) =>
    withAccountRole(identityOfAnnotations(annotations, KEYS.role), 'own')
  const plain = identityOfAnnotations({}, KEYS.role)
  assert.deepEqual(asks({}), { ...plain, source: 'service-account', role: 'own' })
  assert.equal(withAccountRole(plain, undefined), plain)
  assert.equal(asks({ [KEYS.role]: 'r' }).role, 'r')
  assert.equal(asks({ [KEYS.inject]: 'metadata' }).source, 'none')
})

test('an identity from the service account matches annotations that state none, and no others', () => {
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
