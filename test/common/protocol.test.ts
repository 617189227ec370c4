import assert from 'node:assert/strict'
import { test } from 'node:test'
import { imdsTime, isProblemCode, PROBLEMS, Problem, type ProblemCode } from '../../common/protocol.ts'

/** The protocol between sidecar and broker: sidecars of every release rely on these codes and their statuses. */
const STATUS: Record<ProblemCode, number> = {
  'token-missing': 401,
  'token-invalid': 401,
  'token-not-for-this-node': 403,
  'peer-address-mismatch': 403,
  'identity-changed': 403,
  'pod-not-injected': 403,
  'pod-unknown': 404,
  'namespace-not-enabled': 403,
  'role-not-allowed': 403,
  'role-not-set': 404,
  'sts-denied': 403,
  'sts-invalid': 403,
  'sts-throttled': 503,
  'sts-unavailable': 503,
  busy: 503,
  'node-credentials-unavailable': 503,
  'node-unguarded': 503,
  'pod-address-unknown': 503,
  'protocol-not-spoken': 404,
}

test('every problem code has its documented status, and there are no others', () => {
  assert.deepEqual(
    Object.fromEntries(Object.entries(PROBLEMS).map(([code, { status }]) => [code, status])),
    STATUS,
  )
})

test('a problem with status 503 always means to try again, and is never a definitive refusal', () => {
  for (const { status, meaning } of Object.values(PROBLEMS))
    if (status === 503) assert.equal(meaning, 'retry')
})

test('a problem becomes an RFC 9457 body with its code and its sentence', () => {
  const problem = new Problem('role-not-allowed', 'a sentence', { retryAfter: 3 })
  assert.equal(problem.retryAfter, 3)
  assert.deepEqual(problem.toBody(), {
    type: 'urn:pod2iam:problem:role-not-allowed',
    title: 'role not allowed',
    status: 403,
    code: 'role-not-allowed',
    detail: 'a sentence',
  })
})

test('only codes of pod2iam are problem codes', () => {
  assert.equal(isProblemCode('sts-denied'), true)
  for (const other of ['toString', 'nope', 7, undefined, null]) assert.equal(isProblemCode(other), false)
})

test('times are printed as by the metadata service, in UTC and whole seconds', () => {
  assert.equal(imdsTime(Date.UTC(2026, 0, 2, 3, 4, 5, 678)), '2026-01-02T03:04:05Z')
})
