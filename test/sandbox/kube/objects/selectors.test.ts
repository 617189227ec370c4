import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pod, standInOnly, testServer } from '../client/test-server.ts'
import { fieldSelector, matchesLabelSelector } from './selectors.ts'
import { isApiError } from './status.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin

const LABELS: [selector: string, labels: Record<string, string>, matches: boolean][] = [
  ['', {}, true],
  ['a=1', { a: '1' }, true],
  ['a==1', { a: '2' }, false],
  ['a=1', {}, false],
  ['a!=1', { a: '1' }, false],
  ['a!=1', {}, true],
  ['a in (1, 2)', { a: '2' }, true],
  ['a in (1,2)', {}, false],
  ['a notin (1,2)', { a: '3' }, true],
  ['a notin (1,2)', {}, true],
  ['a', { a: '' }, true],
  ['!a', { a: '' }, false],
  ['!a', {}, true],
  ['a=1,b in (x,y),!c', { a: '1', b: 'y' }, true],
  ['a=1,b in (x,y),!c', { a: '1', b: 'z' }, false],
  ['pod2iam.dev/injected=true', { 'pod2iam.dev/injected': 'true' }, true],
  ['toString', {}, false],
]

for (const [index, [labelSelector, labels, matches]] of LABELS.entries())
  test(`the label selector "${labelSelector}" ${matches ? 'selects' : 'does not select'} ${JSON.stringify(labels)}`, async () => {
    const name = `labelled-${index}`
    const metadata = { name, namespace: 'default', labels }
    await admin().create({ apiVersion: 'v1', kind: 'ConfigMap', metadata })
    const fieldSelector = `metadata.name=${name}`
    const { items } = await admin().list('configmaps', { namespace: 'default', labelSelector, fieldSelector })
    assert.equal(items.length === 1, matches)
  })

test('a label selector that cannot be parsed is a bad request', async () => {
  for (const labelSelector of ['a in 1', 'a=b=c', 'a b', '(a)'])
    await assert.rejects(admin().list('configmaps', { labelSelector }), (error) => isApiError(error, 400))
})

standInOnly('a LabelSelector object matches only if all of its labels and expressions match', () => {
  const selector = {
    matchLabels: { a: '1' },
    matchExpressions: [
      { key: 'b', operator: 'In', values: ['x', 'y'] },
      { key: 'c', operator: 'DoesNotExist' },
    ],
  }
  assert.equal(matchesLabelSelector(selector, { a: '1', b: 'x' }), true)
  assert.equal(matchesLabelSelector(selector, { a: '1', b: 'z' }), false)
  assert.equal(matchesLabelSelector(selector, { a: '1', b: 'x', c: '' }), false)
  assert.equal(matchesLabelSelector({}, {}), true)
  assert.equal(matchesLabelSelector(undefined, {}), true)
})

test('a field selector compares fields of the object, and a missing field is empty', async () => {
  await admin().create(pod('fields'))
  await admin().bind('default', 'fields', 'a')
  const status = { phase: 'Running' }
  await admin().patch('pods', 'fields', 'default', { status }, { subresource: 'status' })
  const matches = async (fieldSelector: string) =>
    (await admin().list('pods', { namespace: 'default', fieldSelector })).items.length === 1
  assert.equal(await matches('spec.nodeName=a'), true)
  assert.equal(await matches('spec.nodeName=a,status.phase!=Failed'), true)
  assert.equal(await matches('spec.nodeName==b'), false)
  assert.equal(await matches('spec.nodeName='), false)
  assert.equal(await matches('spec.hostNetwork=false'), true)
  assert.equal(await matches('status.podIP='), true)
})

standInOnly('a field selector reports the one name that it selects', () => {
  assert.equal(fieldSelector('metadata.name=x', '/pods').name, 'x')
  assert.equal(fieldSelector('metadata.name!=x', '/pods').name, undefined)
})

test('a field selector with a field that the resource does not index is a bad request', async () => {
  await assert.rejects(
    admin().list('pods', { fieldSelector: 'spec.containers=x' }),
    (error) => isApiError(error, 400) && error.message === 'field label not supported: spec.containers',
  )
  await assert.rejects(admin().list('configmaps', { fieldSelector: 'spec.nodeName=x' }), (error) =>
    isApiError(error, 400),
  )
})
