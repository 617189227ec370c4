import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { type Answer, webhooks } from '../../injector/admission/webhook.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { captureLog } from '../support/log.ts'
import { type Dict, namespace, noAccounts, pod, reviewOf, settings } from './fixtures.ts'

function webhook(lookup: (name: string) => Promise<Namespace> = async () => namespace()) {
  const { log, lines } = captureLog()
  const observed: unknown[][] = []
  let now = 0
  const { mutate } = webhooks({
    limits: async () => NO_LIMITS,
    accounts: noAccounts,
    settings: () => settings(),
    lookup,
    metrics: { observe: (...values) => observed.push(values) },
    log,
    clock: () => (now += 5),
  })
  return { mutate, lines, observed }
}

function responseOf(answer: Answer): Dict & { status?: Dict } {
  assert.equal(answer.status, 200, 'text' in answer ? answer.text : '')
  return (answer as { body: Dict }).body.response as Dict
}

function request(review: Dict): Dict {
  return review.request as Dict
}

describe('an admission review', () => {
  it('is answered with its uid and a base64 JSON Patch', async () => {
    const response = responseOf(await webhook().mutate(JSON.stringify(reviewOf(pod()))))
    assert.deepEqual([response.uid, response.allowed, response.patchType], ['b9f1', true, 'JSONPatch'])
    const ops = JSON.parse(Buffer.from(String(response.patch), 'base64').toString('utf8'))
    assert.ok(ops.length > 3)
    assert.deepEqual(response.auditAnnotations, {
      decision: 'patch',
      reason: 'injected',
      role: 'arn:aws:iam::111111111111:role/shop-orders',
      redirect: 'nft',
    })
  })

  it('is judged by the namespace of the request, not of the pod', async () => {
    const asked: string[] = []
    const { mutate } = webhook(async (name) => {
      asked.push(name)
      return namespace()
    })
    const given = pod()
    ;(given.metadata as Dict).namespace = 'other'
    await mutate(JSON.stringify(reviewOf(given)))
    assert.deepEqual(asked, ['shop'])
  })

  it('of a refused pod is answered with 403 and the sentence', async () => {
    const response = responseOf(await webhook().mutate(JSON.stringify(reviewOf(pod({ hostNetwork: true })))))
    assert.equal(response.allowed, false)
    assert.deepEqual([response.status?.code, response.status?.reason], [403, 'Forbidden'])
    assert.match(String(response.status?.message), /^pod2iam: a pod on the host network/)
    assert.equal(response.patch, undefined)
  })

  it('is refused with 503 and a sentence when the namespace cannot be read', async () => {
    const { mutate, observed } = webhook(async () => {
      throw new Error('connection refused')
    })
    const response = responseOf(await mutate(JSON.stringify(reviewOf(pod()))))
    assert.equal(response.allowed, false)
    assert.equal(response.status?.code, 503)
    assert.match(
      String(response.status?.message),
      /namespace shop could not be read .*\(connection refused\): try again/,
    )
    assert.deepEqual(observed, [['mutate', 'error', 'namespace-lookup-failed', 0.005]])
  })

  it('is answered as a review even when the injector itself fails', async () => {
    const broken = {
      name: 'shop',
      get labels(): never {
        throw new Error('bug')
      },
      annotations: {},
    }
    const { mutate, lines } = webhook(async () => broken)
    const response = responseOf(await mutate(JSON.stringify(reviewOf(pod()))))
    assert.deepEqual([response.uid, response.allowed, response.status?.code], ['b9f1', false, 500])
    assert.equal(lines.find(({ level }) => level === 'error')?.error, 'bug')
  })

  for (const [what, change] of [
    ['an update', (review: Dict) => (request(review).operation = 'UPDATE')],
    [
      'a deletion without object',
      (review: Dict) => Object.assign(request(review), { operation: 'DELETE', object: null }),
    ],
    ['a subresource', (review: Dict) => (request(review).subResource = 'ephemeralcontainers')],
    [
      'a resize in place',
      (review: Dict) => Object.assign(request(review), { operation: 'UPDATE', subResource: 'resize' }),
    ],
    [
      'another resource',
      (review: Dict) =>
        (request(review).resource = { group: 'apps', version: 'v1', resource: 'deployments' }),
    ],
    [
      'a pod of another API group',
      (review: Dict) =>
        (request(review).resource = { group: 'metrics.k8s.io', version: 'v1', resource: 'pods' }),
    ],
  ] as const)
    it(`of ${what} is allowed unchanged, with a warning in the log`, async () => {
      const review = reviewOf(pod())
      change(review)
      const { mutate, lines } = webhook()
      const response = responseOf(await mutate(JSON.stringify(review)))
      assert.deepEqual([response.allowed, response.patch], [true, undefined])
      assert.deepEqual([lines[0]?.level, lines[0]?.reason], ['warn', 'not-a-pod-creation'])
    })

  it('of a dry run is answered like any other, since there are no side effects to omit', async () => {
    const review = reviewOf(pod())
    const plain = responseOf(await webhook().mutate(JSON.stringify(review)))
    request(review).dryRun = true
    assert.deepEqual(responseOf(await webhook().mutate(JSON.stringify(review))), plain)
  })

  for (const [what, body, says] of [
    ['that is no JSON', '{', /is not JSON/],
    [
      'of an old version',
      JSON.stringify({ ...reviewOf(pod()), apiVersion: 'admission.k8s.io/v1beta1' }),
      /not an AdmissionReview of admission\.k8s\.io\/v1/,
    ],
    ['of another kind', JSON.stringify({ ...reviewOf(pod()), kind: 'Pod' }), /not an AdmissionReview/],
    ['without a request', JSON.stringify({ ...reviewOf(pod()), request: null }), /no request/],
    ['without a uid', JSON.stringify(withRequest({ uid: '' })), /no request\.uid/],
    ['without an operation', JSON.stringify(withRequest({ operation: undefined })), /no request\.operation/],
    ['of a creation without an object', JSON.stringify(withRequest({ object: null })), /no request\.object/],
  ] as const)
    it(`${what} is answered with 400 and a sentence`, async () => {
      const answer = await webhook().mutate(body)
      assert.equal(answer.status, 400)
      assert.match('text' in answer ? answer.text : '', says)
    })

  it('is logged in one line with its uid and without secrets of the pod', async () => {
    const { mutate, lines } = webhook()
    const given = pod({ containers: [{ name: 'app', env: [{ name: 'PASSWORD', value: 'hunter2' }] }] })
    given.metadata = { ...(given.metadata as Dict), name: undefined, generateName: 'orders-5d8c-' }
    await mutate(JSON.stringify(reviewOf(given)))
    assert.equal(lines.length, 1)
    assert.doesNotMatch(JSON.stringify(lines), /hunter2/)
    const { uid, object: name, outcome, reason, namespace: where } = lines[0] ?? assert.fail()
    assert.deepEqual(
      [uid, name, outcome, reason, where],
      ['b9f1', 'orders-5d8c-*', 'patch', 'injected', 'shop'],
    )
  })

  for (const field of ['name', 'generateName'])
    it(`is logged in a short line, however long the ${field}, the namespace and the role are`, async () => {
      const lookup = async (name: string) => ({ ...namespace(), name })
      const { mutate, lines } = webhook(lookup)
      const long = 'x'.repeat(1_000_000)
      const given = pod({ hostNetwork: true }, { [KEYS.role]: long })
      given.metadata = { ...(given.metadata as Dict), name: undefined, [field]: long }
      const review = reviewOf(given)
      const asked = { ...request(review), namespace: long, operation: 'CREATE' }
      await mutate(JSON.stringify({ ...review, request: asked }))
      await mutate(JSON.stringify({ ...review, request: { ...asked, operation: long } }))
      assert.deepEqual(
        lines.map((line) => [String(line.namespace).length, String(line.object).slice(0, 253)]),
        Array(2).fill([63, 'x'.repeat(253)]),
      )
      assert.ok(JSON.stringify(lines).length < 4000, JSON.stringify(lines).slice(0, 4000))
    })

  it('is answered with a bounded number of warnings', async () => {
    const containers = Array.from({ length: 40 }, (_, index) => ({
      name: `${'n'.repeat(500)}${index}`,
      env: [{ name: 'AWS_PROFILE', value: 'x' }],
    }))
    const { warnings } = responseOf(await webhook().mutate(JSON.stringify(reviewOf(pod({ containers })))))
    assert.equal((warnings as string[]).length, 10)
    assert.ok((warnings as string[]).every((text) => text.length <= 400))
  })
})

function withRequest(changes: Dict): Dict {
  const review = reviewOf(pod())
  return { ...review, request: { ...request(review), ...changes } }
}
