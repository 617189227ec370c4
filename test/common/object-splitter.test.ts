/** Objects are cut out of lists and watches while these arrive, whatever the size of the chunks. */
import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import fc from 'fast-check'
import { oversize } from '../../common/kube/json-lines.ts'
import { objectSplitter } from '../../common/kube/object-splitter.ts'

/** Everything that is cut out of a text which arrives in chunks of `size` bytes. */
function cutIn(of: 'list' | 'stream', text: string, size: number, most?: number) {
  const cutter = objectSplitter(of, most)
  const bytes = Buffer.from(text)
  const objects: unknown[] = []
  for (let at = 0; at < bytes.length; at += size) objects.push(...cutter.split(bytes.subarray(at, at + size)))
  return { objects, cutter }
}
const SIZES = [1, 2, 3, 7, 64, 1000, 1_000_000]

const PODS = [
  { metadata: { name: 'a', labels: { x: '"}],{[' } }, spec: { args: ['\\', '\\"', '"items":[', ''] } },
  { metadata: { name: 'b' }, items: [{ items: [] }], note: 'ä😀\u0000' },
  {},
]

for (const size of SIZES) {
  test(`a list in chunks of ${size} bytes gives its objects, and an envelope without them`, () => {
    const list = {
      kind: 'PodList',
      other: [1, { items: [2] }],
      metadata: { continue: 'c', resourceVersion: '7' },
    }
    for (const text of [
      JSON.stringify({ ...list, items: PODS }),
      JSON.stringify({ items: PODS, ...list }),
      JSON.stringify({ ...list, items: PODS }, undefined, 2),
    ]) {
      const { objects, cutter } = cutIn('list', text, size)
      assert.deepEqual(objects, PODS)
      assert.deepEqual(cutter.envelope(), { ...list, items: [] })
    }
  })

  test(`a watch in chunks of ${size} bytes gives its objects, and nothing of one that is cut off`, () => {
    const text = PODS.map((object) => JSON.stringify({ type: 'ADDED', object })).join('\n')
    const { objects } = cutIn('stream', `${text}\r\n\n{"type":"MODIFIED","object":{"a":[`, size)
    assert.deepEqual(
      objects,
      PODS.map((object) => ({ type: 'ADDED', object })),
    )
  })

  test(`an object that is too large is left out of a watch in chunks of ${size} bytes, and the next one is read`, () => {
    const { objects } = cutIn('stream', `{"a":1}\n{"b":"${'x'.repeat(100)}"}\n{"c":3}\n`, size, 50)
    assert.deepEqual(objects, [{ a: 1 }, oversize, { c: 3 }])
  })
}

test('managedFields are not read, whatever their size', () => {
  const entry = { manager: 'x', fieldsV1: { 'k:{"name":"]"}': { '.': [] }, filler: 'y'.repeat(500) } }
  const metadata = { name: 'a', managedFields: [entry, entry], uid: 'u' }
  const wanted = { metadata: { ...metadata, managedFields: [] }, spec: { managedFields: 1 } }
  const object = { metadata, spec: wanted.spec }
  assert.deepEqual(cutIn('list', JSON.stringify({ items: [object, object] }), 1e6, 100).objects, [
    wanted,
    wanted,
  ])
  const line = `${JSON.stringify({ type: 'ADDED', object })}\n`
  for (const size of [20, 64, 1000]) {
    const { objects } = cutIn('stream', line + line, size)
    for (const one of objects as { object: typeof wanted }[]) {
      assert.deepEqual(one.object.spec, wanted.spec)
      assert.equal(one.object.metadata.name, 'a')
    }
    assert.equal(objects.length, 2)
  }
})

test('text that only looks like managedFields is kept', () => {
  const object = { a: '"managedFields":[', b: ['"managedFields":', ['x']], managedFields: 'none' }
  assert.deepEqual(cutIn('stream', JSON.stringify(object), 1e6).objects, [object])
})

describe('input that is no list or no watch', () => {
  for (const text of ['<html></html>', 'x', '{"a":1}\nnull', '{"a":1} {"b":}'])
    it(`throws at ${text}`, () => assert.throws(() => cutIn('stream', text, 3), SyntaxError))
  for (const text of ['', '<html>', '{"items":[{}', '{"items":[{"a":1},', '{"metadata":'])
    it(`throws at ${text || 'an empty text'}`, () =>
      assert.throws(() => cutIn('list', text, 3).cutter.envelope(), SyntaxError))
})

test('any JSON object comes out as it went in', () => {
  const value = fc.jsonValue({ maxDepth: 4 }).map((some) => ({ some }))
  fc.assert(
    fc.property(fc.array(value, { maxLength: 5 }), fc.integer({ min: 1, max: 50 }), (values, size) => {
      const parsed = JSON.parse(JSON.stringify(values))
      assert.deepEqual(cutIn('list', JSON.stringify({ items: values }), size).objects, parsed)
      assert.deepEqual(
        cutIn('stream', values.map((one) => JSON.stringify(one)).join('\n'), size).objects,
        parsed,
      )
    }),
  )
})
