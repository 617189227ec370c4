import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from './objects.ts'
import { fieldSelector, labelSelector, matchesLabelSelector } from './selectors.ts'
import { ApiError } from './status.ts'

const object = (labels: Record<string, string>): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'n', labels },
})

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

for (const [selector, labels, matches] of LABELS)
  test(`the label selector "${selector}" ${matches ? 'selects' : 'does not select'} ${JSON.stringify(labels)}`, () => {
    assert.equal(labelSelector(selector)(object(labels)), matches)
  })

test('a label selector that cannot be parsed is a bad request', () => {
  for (const text of ['a in 1', 'a=b=c', 'a b', '(a)'])
    assert.throws(
      () => labelSelector(text),
      (error) => error instanceof ApiError && error.code === 400,
    )
})

test('a LabelSelector object needs all of its labels and expressions', () => {
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

test('a field selector compares fields of the object, absent ones as empty', () => {
  const p: KubeObject = { ...object({}), spec: { nodeName: 'a' }, status: { phase: 'Running' } }
  const matches = (text: string) => fieldSelector(text, '/pods').matches(p)
  assert.equal(matches('spec.nodeName=a'), true)
  assert.equal(matches('spec.nodeName=a,status.phase!=Failed'), true)
  assert.equal(matches('spec.nodeName==b'), false)
  assert.equal(matches('spec.nodeName='), false)
  assert.equal(matches('spec.hostNetwork=false'), true)
  assert.equal(matches('status.podIP='), true)
})

test('a field selector knows the one name it asks for', () => {
  assert.equal(fieldSelector('metadata.name=x', '/pods').name, 'x')
  assert.equal(fieldSelector('metadata.name!=x', '/pods').name, undefined)
})

test('a field the resource does not index is a bad request, as on a real server', () => {
  assert.throws(
    () => fieldSelector('spec.containers=x', '/pods'),
    (error) =>
      error instanceof ApiError &&
      error.code === 400 &&
      error.message === 'field label not supported: spec.containers',
  )
  assert.throws(() => fieldSelector('spec.nodeName=x', '/configmaps'), ApiError)
})
