import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  sourceIdentityOf,
  sourceIdentityTemplate,
} from '../../node-guard/broker/authorize/source-identity.ts'

const PLAIN = '{namespace}.{service-account}'

test('a source identity has namespace and service account after the operator’s prefix', () => {
  const pod = { namespace: 'shop', serviceAccount: 'orders.v2' }
  assert.equal(sourceIdentityOf(PLAIN, pod), 'shop.orders.v2')
  assert.equal(sourceIdentityOf('prod@{namespace}_{service-account}', pod), 'prod@shop_orders.v2')
})

test('a source identity that is too long for AWS keeps its beginning and ends in a hash of both names', () => {
  const namespace = 'n'.repeat(20)
  const long = (end: string) => sourceIdentityOf(PLAIN, { namespace, serviceAccount: 's'.repeat(60) + end })
  assert.match(long('a'), /^n{20}\.s{22}=[0-9a-f]{20}$/)
  assert.notEqual(long('a'), long('b'))
  assert.equal(sourceIdentityOf(PLAIN, { namespace, serviceAccount: 's'.repeat(43) }).length, 64)
  assert.ok(!sourceIdentityOf(PLAIN, { namespace, serviceAccount: 's'.repeat(43) }).includes('='))
})

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
const names = fc.record({
  namespace: label,
  serviceAccount: fc.array(label, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.')),
})
const templates = fc
  .tuple(fc.stringMatching(/^[\w,.@-]{0,24}$/), fc.constantFrom('.', ',', '@', '_'))
  .map(([prefix, separator]) => `${prefix}{namespace}${separator}{service-account}`)

test('every source identity is legal for AWS, and no two service accounts have the same', () => {
  fc.assert(
    fc.property(templates, names, names, (template, one, other) => {
      assert.equal(sourceIdentityTemplate.parse(template), template)
      const [a, b] = [sourceIdentityOf(template, one), sourceIdentityOf(template, other)]
      assert.match(a, /^[\w=,.@-]{2,64}$/)
      const isSame = one.namespace === other.namespace && one.serviceAccount === other.serviceAccount
      assert.equal(a === b, isSame)
    }),
  )
})

test('no names produce the source identity of other names by imitating its hash or its separator', () => {
  const long = sourceIdentityOf(PLAIN, { namespace: 'n'.repeat(43), serviceAccount: 's'.repeat(43) })
  const [namespace = '', hash = ''] = long.split('=')
  for (const imitation of [
    { namespace, serviceAccount: hash },
    { namespace: 'n', serviceAccount: `${namespace.slice(1)}.${hash}` },
  ])
    assert.notEqual(sourceIdentityOf(PLAIN, imitation), long)
  assert.notEqual(
    sourceIdentityOf(PLAIN, { namespace: 'a', serviceAccount: 'b.c' }),
    sourceIdentityOf(PLAIN, { namespace: 'a-b', serviceAccount: 'c' }),
  )
})

test('an empty template is none, and one without both names is refused', () => {
  assert.equal(sourceIdentityTemplate.parse(''), undefined)
  assert.throws(
    () => sourceIdentityTemplate.parse('{namespace}'),
    /must be \{namespace\}\.\{service-account\}/,
  )
})
