import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalAddress } from '../../common/canonical-address.ts'
import { KEYS } from '../../common/keys.ts'
import { isYoung, judgePeer } from '../../node-guard/broker/authenticate/peer.ts'
import { whyNotExternalId } from '../../node-guard/broker/authorize/external-id.ts'
import { sessionName, sharedSessionName } from '../../node-guard/broker/authorize/session-name.ts'
import type { PodRecord } from '../../node-guard/broker/kubernetes/pod.ts'

const POD = { namespace: 'shop', name: 'web-1', uid: 'u-1' }
const LEGAL = /^[\w+=,.@-]{2,64}$/

test('a session is named after namespace and pod, or namespace and annotation', () => {
  assert.equal(sessionName(POD, undefined), 'shop.web-1')
  assert.equal(sessionName(POD, ''), 'shop.web-1')
  assert.equal(sessionName(POD, 'billing@x'), 'shop.billing@x')
})

test('a session name that must be changed keeps its start and ends in an 80-bit hash of the pod', () => {
  assert.match(sessionName(POD, 'my session/1:2'), /^shop\.my-session-1-2-[0-9a-f]{20}$/)
  const long = sessionName({ ...POD, name: 'p'.repeat(100) }, undefined)
  assert.match(long, /^shop\.p{38}-[0-9a-f]{20}$/)
  assert.equal(long.length, 64)
  assert.match(sessionName(POD, 'ünï'), /^shop\.-n--[0-9a-f]{20}$/)
})

test('every session name is legal, and different namespaces never have the same one', () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
  const pods = fc.record({
    namespace: label,
    name: fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,80}[a-z0-9])?$/),
    uid: fc.uuid(),
  })
  const wanted = fc.option(fc.oneof(fc.string(), fc.stringMatching(/^[\w.@-]{1,70}$/)), { nil: undefined })
  fc.assert(
    fc.property(pods, pods, wanted, wanted, (a, b, one, other) => {
      const [first, second] = [sessionName(a, one), sessionName(b, other)]
      assert.match(first, LEGAL)
      if (a.namespace !== b.namespace) assert.notEqual(first, second)
    }),
    { numRuns: 2000 },
  )
})

test('no annotation produces the shortened session name of a pod in a namespace with a long name', () => {
  const victim = { namespace: 'n'.repeat(63), name: 'p'.repeat(60), uid: 'u-1' }
  const target = sessionName(victim, undefined)
  for (const namespace of [
    'n'.repeat(43),
    'n'.repeat(42),
    `${'n'.repeat(43)}-${target.slice(44)}`.slice(0, 63),
  ])
    assert.notEqual(
      sessionName({ namespace, name: 'x', uid: 'u-2' }, target.slice(namespace.length + 1)),
      target,
    )
})

test('the shared session of a node is legal, too', () => {
  assert.equal(
    sharedSessionName('ip-10-0-0-1.eu-west-1.compute.internal'),
    'pod2iam.ip-10-0-0-1.eu-west-1.compute.internal',
  )
  assert.match(sharedSessionName('n'.repeat(200)), LEGAL)
})

const record = (over: Partial<PodRecord> = {}) =>
  ({ podIPs: ['10.0.0.7', 'fd00::7'], createdAt: 0, ...over }) as PodRecord

test('a peer is compared by its address, however that is written', () => {
  for (const peer of [
    '10.0.0.7',
    '::ffff:10.0.0.7',
    'fd00::7',
    'fd00:0:0:0:0:0:0:7',
    'FD00::0007',
    'fd00::7%eth0',
  ])
    assert.equal(judgePeer(record(), peer), 'match', peer)
  for (const peer of ['10.0.0.8', 'fd00::8', '', undefined])
    assert.equal(judgePeer(record(), peer), 'mismatch', peer)
  assert.equal(judgePeer(record({ podIPs: [] }), '10.0.0.7'), 'unknown')
  assert.equal(judgePeer(record({ podIPs: [] }), undefined), 'mismatch')
  assert.equal(judgePeer(record({ podIPs: ['FD00:0::7'] }), 'fd00::7'), 'match')
})

test('a text that is not an address stays unchanged', () => {
  assert.equal(canonicalAddress('nonsense'), 'nonsense')
})

test('a pod is young for five minutes', () => {
  assert.equal(isYoung(record(), 299_999), true)
  assert.equal(isYoung(record(), 300_000), false)
  assert.equal(isYoung(record(), -400_000), false)
})

const shop = (list?: string) => ({
  name: 'shop',
  annotations: list === undefined ? {} : { [KEYS.allowedExternalIds]: list },
})

test('any external id is allowed if the namespace has no list, and otherwise only a listed one', () => {
  assert.equal(whyNotExternalId('abc', shop()), undefined)
  assert.equal(whyNotExternalId('abc', shop('["x","abc"]')), undefined)
  assert.equal(whyNotExternalId(undefined, shop('["x"]')), undefined)
  assert.equal(whyNotExternalId('', shop('["x"]')), undefined)
  assert.match(whyNotExternalId('abc', shop('["x"]')) ?? '', /does not list/)
  assert.match(whyNotExternalId('abc', shop('["a*"]')) ?? '', /does not list/)
  for (const broken of ['', 'abc', '{}', '[1]'])
    assert.match(whyNotExternalId('abc', shop(broken)) ?? '', /not a JSON array/)
})

test('an external id that STS would not accept is refused without repeating it', () => {
  for (const value of ['a', 'a b', 'a\nb', 'é1', 'x'.repeat(1225)]) {
    const why = whyNotExternalId(value, shop())
    assert.match(why ?? '', /is not an external id/)
    if (value.length > 3) assert.ok(!why?.includes(value))
  }
  assert.equal(whyNotExternalId('a+=,.@:/-_9', shop()), undefined)
})
