import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isPresent, isTrusted } from '../../injector/form/image-reference.ts'
import { contains, sameJson } from '../../injector/json.ts'
import { pointer } from '../../injector/json-patch.ts'
import { isGuaranteed } from '../../injector/pod/guaranteed.ts'
import type { Pod } from '../../injector/pod/pod.ts'
import { amountOf, cpuMillis, memoryBytes, quantityText } from '../../injector/resources/quantity.ts'
import { guaranteed, SIDECAR_RESOURCES } from '../../injector/resources/resources.ts'

describe('quantities', () => {
  for (const [text, expected] of [
    ['250m', 250],
    ['1', 1000],
    ['0.5', 500],
    ['1.25', 1250],
    ['0.5m', undefined],
    ['-1', undefined],
    ['1e3', undefined],
    ['', undefined],
    ['1 ', undefined],
  ] as const)
    it(`cpu ${JSON.stringify(text)} is ${expected ?? 'no quantity'}`, () =>
      assert.equal(cpuMillis(text), expected))

  for (const [text, expected] of [
    ['64Mi', 67108864],
    ['64M', 64000000],
    ['67108864', 67108864],
    ['1Gi', 1073741824],
    ['4k', 4000],
    ['1.5Gi', undefined],
    ['64mi', undefined],
    ['', undefined],
  ] as const)
    it(`memory ${JSON.stringify(text)} is ${expected ?? 'no quantity'}`, () =>
      assert.equal(memoryBytes(text), expected))
})

describe('quantities in pods', () => {
  for (const [name, text, expected] of [
    ['cpu', '250m', 250],
    ['cpu', '0.07', 70],
    ['cpu', 2, 2000],
    ['cpu', '1500u', 1.5],
    ['cpu', '1e3', 1_000_000],
    ['memory', '1.5Gi', 1.5 * 2 ** 30],
    ['memory', '1Ti', 2 ** 40],
    ['memory', '128974848000m', 128974848],
    ['memory', '1E2', 100],
    ['memory', '1E', 1e18],
    ['memory', '-1', undefined],
    ['memory', '64mi', undefined],
    ['memory', '', undefined],
    ['memory', '1'.repeat(65), undefined],
    ['memory', {}, undefined],
    ['memory', null, undefined],
  ] as const)
    it(`${name} ${JSON.stringify(text)} is ${expected ?? 'no quantity'}`, () =>
      assert.equal(amountOf(name, text), expected))

  it('are written with the usual units, rounded down', () => {
    assert.deepEqual(
      [0, 1.9, 250, 2000].map((amount) => quantityText('cpu', amount)),
      ['0', '1m', '250m', '2'],
    )
    assert.deepEqual(
      [0, 1000.5, 48 * 2 ** 20, 2 ** 30, 1.5 * 2 ** 30].map((amount) => quantityText('memory', amount)),
      ['0', '1000', '48Mi', '1Gi', '1536Mi'],
    )
  })
})

describe('a pod’s quality of service', () => {
  const app = (resources?: object) => ({ name: 'app', ...(resources ? { resources } : {}) })
  const is = (containers: object[], initContainers?: object[]) =>
    isGuaranteed({ spec: { containers, initContainers } } as unknown as Pod)
  const full = { limits: { cpu: 1, memory: '1Gi' } }

  it('is Guaranteed with limits alone, which count as requests', () => assert.equal(is([app(full)]), true))
  it('is not Guaranteed with an init container without limits', () =>
    assert.equal(is([app(full)], [app()]), false))
  it('does not depend on our own containers', () =>
    assert.equal(is([app(full)], [{ name: 'pod2iam-sidecar' }]), true))
  it('is Guaranteed with equal quantities in different notations', () =>
    assert.equal(is([app({ ...full, requests: { cpu: '1000m', memory: '1024Mi' } })]), true))
  it('is Guaranteed with quantities in any notation', () =>
    assert.equal(is([app({ limits: { cpu: '1e0', memory: '1Ti' }, requests: { memory: '1024Gi' } })]), true))
  it('is not Guaranteed with a request below the limit', () =>
    assert.equal(is([app({ ...full, requests: { cpu: '500m' } })]), false))
  it('is not Guaranteed with a limit of zero', () =>
    assert.equal(is([app({ limits: { cpu: '0', memory: '1Gi' } })]), false))

  it('is kept with requests equal to the limits, of at most 200m', () => {
    assert.deepEqual(guaranteed(SIDECAR_RESOURCES).requests, { cpu: '200m', memory: '48Mi' })
    const low = guaranteed({ ...SIDECAR_RESOURCES, limits: { cpu: '100m', memory: '48Mi' } })
    assert.deepEqual([low.requests, low.limits], [low.limits, { cpu: '100m', memory: '48Mi' }])
  })
})

describe('image references', () => {
  const OURS = 'ghcr.io/pod2iam/sidecar:0.1.0'
  for (const [wanted, actual, expected] of [
    [OURS, OURS, true],
    [OURS, 'mirror.example.com:5000/pod2iam/sidecar:0.1.0', false],
    [OURS, '1.dkr.ecr.eu-west-1.amazonaws.com/ghcr.io/pod2iam/sidecar:0.1.0', false],
    [OURS, `${OURS}@sha256:aa`, true],
    [OURS, 'ghcr.io/pod2iam/sidecar@sha256:aa', true],
    [OURS, 'ghcr.io/pod2iam/sidecar', false],
    [OURS, 'ghcr.io/pod2iam/sidecar:0.1.1', false],
    [OURS, 'ghcr.io/evil/sidecar:0.1.0', false],
    [OURS, 'ghcr.io/xpod2iam/sidecar:0.1.0', false],
    [OURS, undefined, false],
    [OURS, '', false],
    [`${OURS}@sha256:aa`, `${OURS}@sha256:bb`, false],
    [`${OURS}@sha256:aa`, 'mirror/pod2iam/sidecar@sha256:aa', false],
    ['localhost:5000/sidecar', 'localhost:5000/sidecar', true],
    ['localhost:5000/sidecar', 'localhost:5001/sidecar', false],
    ['sidecar', 'mirror.example.com/library/sidecar', false],
  ] as const)
    it(`${actual} ${expected ? 'is' : 'is not'} ${wanted}`, () =>
      assert.equal(isPresent({ image: wanted, others: [], registries: [] }, actual), expected))

  const DIGEST = `sha256:${'ab'.repeat(32)}`
  const trust = {
    image: OURS,
    others: ['old.example.com/pod2iam/sidecar:0.0.9', `ghcr.io/x/sidecar@${DIGEST}`],
    registries: ['1.dkr.ecr.eu-west-1.amazonaws.com', 'mirror.example.com:5000/proxy/ghcr'],
  }
  for (const [actual, present, trusted] of [
    ['ghcr.io/pod2iam/sidecar:0.0.9', false, true],
    ['old.example.com/pod2iam/sidecar:7', false, true],
    ['1.dkr.ecr.eu-west-1.amazonaws.com/ghcr.io/pod2iam/sidecar:0.1.0', true, true],
    ['1.dkr.ecr.eu-west-1.amazonaws.com/ghcr.io/pod2iam/sidecar:0.0.9', false, true],
    ['1.dkr.ecr.eu-west-1.amazonaws.com/ghcr.io/pod2iam/sidecar@sha256:aa', true, true],
    ['1.dkr.ecr.eu-west-1.amazonaws.com/evil/ghcr.io/pod2iam/sidecar:0.1.0', false, false],
    ['mirror.example.com:5000/proxy/ghcr/pod2iam/sidecar:0.1.0', true, true],
    ['mirror.example.com:5000/proxy/pod2iam/sidecar:0.1.0', false, false],
    ['xmirror.example.com:5000/proxy/ghcr/pod2iam/sidecar:0.1.0', false, false],
    [`anywhere.example.com/x@${DIGEST}`, false, true],
    [`anywhere.example.com/x:0.1.0@${DIGEST.replace('ab', 'cd')}`, false, false],
    ['evil.example.com/pod2iam/sidecar:0.1.0', false, false],
    ['ghcr.io/pod2iam/node-guard:0.1.0', false, false],
  ] as const)
    it(`${actual} is ${present ? 'as it should be' : trusted ? 'ours' : 'not ours'}, where registries are trusted`, () =>
      assert.deepEqual([isPresent(trust, actual), isTrusted(trust, actual)], [present, trusted]))
})

describe('the comparison of JSON', () => {
  it('ignores the order of members, and finds additional ones', () => {
    assert.equal(sameJson({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 }), true)
    assert.equal(sameJson({ a: 1 }, { a: 1, b: 2 }), false)
    assert.equal(sameJson([1, 2], [2, 1]), false)
    assert.equal(sameJson({}, []), false)
    assert.equal(sameJson({ toString: 1 }, { x: 1 }), false)
  })

  it('can allow additional members, but no arrays of another length', () => {
    assert.equal(contains({ a: { b: 1, c: 2 } }, { a: { b: 1 } }), true)
    assert.equal(contains({ a: 1 }, { a: 1, b: 2 }), false)
    assert.equal(contains([1, 2], [1]), false)
    assert.equal(contains(undefined, {}), false)
  })

  it('uses pointers in which ~ and / are escaped', () =>
    assert.equal(pointer('a/b', 'c~d', 0), '/a~1b/c~0d/0'))
})
