/** Reviews that are made to be as expensive as possible, and that any pod of the cluster can send to the injector. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { exchangeText, type RunningInjector, startInjector } from '../bench/injector/process.ts'
import { type Dict, pod, reviewOf } from './fixtures.ts'
import { type WorstReview, worstReviews } from './worst-reviews.ts'

/** The size of 500 operations in base64 and of everything else. */
const MOST_ANSWER = 256 * 1024

describe('reviews that are made to be expensive', () => {
  let injector: RunningInjector
  before(async () => {
    injector = await startInjector()
  })
  after(() => injector.end())

  const send = async (path: string, body: string) => {
    const { status, text } = await exchangeText(injector, path, body)
    assert.ok(text.length < MOST_ANSWER, `${text.length} bytes`)
    const response: Dict = status === 200 ? JSON.parse(text).response : {}
    return { status, text, response }
  }
  const expectations: Readonly<
    Record<WorstReview['answer'], (answer: Awaited<ReturnType<typeof send>>) => void>
  > = {
    allowed: ({ response }) => assert.equal(response.allowed, true, JSON.stringify(response.status)),
    'too-large': ({ response }) => {
      assert.equal(response.allowed, false)
      assert.equal((response.auditAnnotations as Dict).reason, 'pod-too-large')
      assert.match(
        String((response.status as Dict).message),
        /^pod2iam: the pod (has|is) [^;]+: no pod needs that many, .* split it into several$/,
      )
    },
    'no-review': ({ status, text }) => {
      assert.equal(status, 400)
      assert.match(text, /^pod2iam: /)
    },
  }
  for (const { name, path, body, answer } of worstReviews())
    it(`${name}: ${answer}`, async () => expectations[answer](await send(path, body)))

  it('are allowed in a namespace that is not opted in, or where the pod asks for nothing', async () => {
    const containers = Array.from({ length: 50_000 }, (_, index) => ({ name: `c${index}`, env: [] }))
    const bare = { containers }
    for (const [namespace, annotations, reason] of [
      ['other', {}, 'namespace-not-enabled'],
      ['shop', { [KEYS.role]: undefined }, 'not-annotated'],
      ['shop', { [KEYS.inject]: 'false' }, 'opted-out'],
      ['everybody', { [KEYS.role]: undefined }, 'pod-too-large'],
    ] as const) {
      const review = reviewOf(pod(bare, annotations)) as { request: Dict }
      for (const path of ['/mutate', '/validate']) {
        const { response } = await send(
          path,
          JSON.stringify({ ...review, request: { ...review.request, namespace } }),
        )
        assert.deepEqual(
          [response.allowed, (response.auditAnnotations as Dict).reason, response.patch],
          [true, reason, undefined],
        )
      }
    }
  })

  it('are refused where a reserved name may be in the part that was not read', async () => {
    const containers = Array.from({ length: 50_000 }, (_, index) => ({ name: `c${index}`, env: [] }))
    const forged = { containers, initContainers: [{ name: 'pod2iam-sidecar' }] }
    for (const annotations of [{ [KEYS.role]: undefined }, { [KEYS.inject]: 'false' }]) {
      const { response } = await send('/mutate', JSON.stringify(reviewOf(pod(forged, annotations))))
      assert.equal(response.allowed, false)
    }
  })

  it('cannot change the identity of a living pod, however large it is', async () => {
    const containers = Array.from({ length: 50_000 }, (_, index) => ({ name: `c${index}`, env: [] }))
    const [before, after] = [pod({ containers }), pod({ containers }, { [KEYS.role]: 'other' })]
    const update = (object: Dict) => {
      const review = reviewOf(object) as { request: Dict }
      return JSON.stringify({
        ...review,
        request: { ...review.request, operation: 'UPDATE', oldObject: before },
      })
    }
    assert.equal((await send('/validate', update(before))).response.allowed, true)
    const { response } = await send('/validate', update(after))
    assert.equal((response.auditAnnotations as Dict).reason, 'identity-changed')
  })

  it('cause a warning for a workload whose pods will be refused for their size', async () => {
    const review = reviewOf({}) as { request: Dict }
    const containers = Array.from({ length: 50_000 }, (_, index) => ({ name: `c${index}`, env: [] }))
    for (const [resource, spec] of [
      ['deployments', { template: pod({ containers }) }],
      ['cronjobs', { jobTemplate: { spec: { template: pod({ containers }) } } }],
    ] as const) {
      const group = resource === 'cronjobs' ? 'batch' : 'apps'
      const request = { ...review.request, resource: { group, version: 'v1', resource }, object: { spec } }
      const { response } = await send('/warn', JSON.stringify({ ...review, request }))
      assert.equal(response.allowed, true)
      assert.match(
        String(response.warnings),
        /^pod2iam: pods of this workload will be refused: the pod has more than/,
      )
    }
  })

  it('are refused if they are compressed, and accepted if they are chunked', async () => {
    const body = JSON.stringify(reviewOf(pod()))
    const answer = await exchangeText(injector, '/mutate', body, { 'Content-Encoding': 'gzip' }, 'gzip')
    assert.equal(answer.status, 400)
    assert.equal(
      (await exchangeText(injector, '/mutate', body, { 'Transfer-Encoding': 'chunked' })).status,
      200,
    )
  })

  it('are read like by JSON.parse if keys have escapes or are repeated', async () => {
    const text = JSON.stringify(reviewOf(pod()))
    for (const same of [
      text.replaceAll('"object"', '"\\u006fbject"').replaceAll('"spec"', '"\\u0073pec"'),
      text.replace('"object":', '"object":{"spec":{"containers":[]}},"object":'),
      JSON.stringify(JSON.parse(text), null, '\t'),
    ]) {
      const { status, response } = await send('/mutate', same)
      assert.deepEqual([status, response.allowed], [200, true], same.slice(0, 300))
    }
  })
})
