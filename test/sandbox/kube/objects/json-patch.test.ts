import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isStandIn } from '../client/client.ts'
import { standInOnly, testServer } from '../client/test-server.ts'
import { jsonPatch } from './json-patch.ts'
import { strategicMergePatch } from './strategic-merge.ts'
import { documents, standInPatcher } from './test-documents.ts'

/** The stand-in's function, or a real API server's for an object that holds any document. */
const patcher = isStandIn() ? standInPatcher() : documents(testServer())

/** RFC 6902 appendix A, and the deviations of the API server's library: document, patch, result (undefined means refused). */
const RFC6902: [name: string, document: unknown, patch: unknown[], result: unknown][] = [
  [
    'A.1 adding an object member',
    { foo: 'bar' },
    [{ op: 'add', path: '/baz', value: 'qux' }],
    { baz: 'qux', foo: 'bar' },
  ],
  [
    'A.2 adding an array element',
    { foo: ['bar', 'baz'] },
    [{ op: 'add', path: '/foo/1', value: 'qux' }],
    { foo: ['bar', 'qux', 'baz'] },
  ],
  [
    'A.3 removing an object member',
    { baz: 'qux', foo: 'bar' },
    [{ op: 'remove', path: '/baz' }],
    { foo: 'bar' },
  ],
  [
    'A.4 removing an array element',
    { foo: ['bar', 'qux', 'baz'] },
    [{ op: 'remove', path: '/foo/1' }],
    { foo: ['bar', 'baz'] },
  ],
  [
    'A.5 replacing a value',
    { baz: 'qux', foo: 'bar' },
    [{ op: 'replace', path: '/baz', value: 'boo' }],
    { baz: 'boo', foo: 'bar' },
  ],
  [
    'A.6 moving a value',
    { foo: { bar: 'baz', waldo: 'fred' }, qux: { corge: 'grault' } },
    [{ op: 'move', from: '/foo/waldo', path: '/qux/thud' }],
    { foo: { bar: 'baz' }, qux: { corge: 'grault', thud: 'fred' } },
  ],
  [
    'A.7 moving an array element',
    { foo: ['all', 'grass', 'cows', 'eat'] },
    [{ op: 'move', from: '/foo/1', path: '/foo/3' }],
    { foo: ['all', 'cows', 'eat', 'grass'] },
  ],
  [
    'A.8 testing a value: success',
    { baz: 'qux', foo: ['a', 2, 'c'] },
    [
      { op: 'test', path: '/baz', value: 'qux' },
      { op: 'test', path: '/foo/1', value: 2 },
    ],
    { baz: 'qux', foo: ['a', 2, 'c'] },
  ],
  ['A.9 testing a value: error', { baz: 'qux' }, [{ op: 'test', path: '/baz', value: 'bar' }], undefined],
  [
    'A.10 adding a nested member object',
    { foo: 'bar' },
    [{ op: 'add', path: '/child', value: { grandchild: {} } }],
    { foo: 'bar', child: { grandchild: {} } },
  ],
  [
    'A.11 ignoring unrecognized elements',
    { foo: 'bar' },
    [{ op: 'add', path: '/baz', value: 'qux', xyz: 123 }],
    { foo: 'bar', baz: 'qux' },
  ],
  [
    'A.12 adding to a nonexistent target',
    { foo: 'bar' },
    [{ op: 'add', path: '/baz/bat', value: 'qux' }],
    undefined,
  ],
  [
    'A.14 ~ escape ordering',
    { '/': 9, '~1': 10 },
    [{ op: 'test', path: '/~01', value: 10 }],
    { '/': 9, '~1': 10 },
  ],
  [
    'A.15 comparing strings and numbers',
    { '/': 9, '~1': 10 },
    [{ op: 'test', path: '/~01', value: '10' }],
    undefined,
  ],
  [
    'A.16 adding an array value',
    { foo: ['bar'] },
    [{ op: 'add', path: '/foo/-', value: ['abc', 'def'] }],
    { foo: ['bar', ['abc', 'def']] },
  ],
  ['an index beyond the end', { foo: ['bar'] }, [{ op: 'add', path: '/foo/2', value: 'x' }], undefined],
  [
    'an index with a leading zero, which the RFC forbids',
    { foo: ['a', 'b'] },
    [{ op: 'replace', path: '/foo/01', value: 'x' }],
    { foo: ['a', 'x'] },
  ],
  [
    'a negative index, which the RFC does not know',
    { foo: ['a', 'b'] },
    [{ op: 'remove', path: '/foo/-1' }],
    { foo: ['a'] },
  ],
  [
    'replacing a missing member, which the RFC forbids',
    { foo: 1 },
    [{ op: 'replace', path: '/bar', value: 1 }],
    { bar: 1, foo: 1 },
  ],
  ['replacing a missing element', { a: [1] }, [{ op: 'replace', path: '/a/1', value: 1 }], undefined],
  ['a test below a missing member', { a: 1 }, [{ op: 'test', path: '/b/c', value: null }], undefined],
  ['removing a missing member', { foo: 1 }, [{ op: 'remove', path: '/bar' }], undefined],
  ['removing an inherited member', {}, [{ op: 'remove', path: '/toString' }], undefined],
  ['the whole document', { foo: 1 }, [{ op: 'replace', path: '', value: { bar: 2 } }], { bar: 2 }],
  ['copying', { a: { b: [1] } }, [{ op: 'copy', from: '/a/b', path: '/c' }], { a: { b: [1] }, c: [1] }],
  ['moving into itself', { a: { b: 1 } }, [{ op: 'move', from: '/a', path: '/a/b' }], undefined],
  ['a test of an absent member against null', { a: 1 }, [{ op: 'test', path: '/b', value: null }], { a: 1 }],
  [
    'an annotation key with a slash',
    { annotations: {} },
    [{ op: 'add', path: '/annotations/a.b~1c', value: 'x' }],
    { annotations: { 'a.b/c': 'x' } },
  ],
  ['an unknown operation', { a: 1 }, [{ op: 'frob', path: '/a' }], undefined],
  ['add without a value, which is null', { a: 1 }, [{ op: 'add', path: '/b' }], { a: 1, b: null }],
]

for (const [name, document, patch, result] of RFC6902)
  test(`JSON Patch ${result === undefined ? 'refuses' : 'accepts'}: ${name}`, async () => {
    const before = structuredClone(document)
    assert.deepEqual(await patcher.json(document, patch), result)
    assert.deepEqual(document, before, 'the document itself is untouched')
  })

standInOnly('JSON Patch applies all operations or none', () => {
  const document = { a: 1 }
  assert.throws(() =>
    jsonPatch(document, [
      { op: 'replace', path: '/a', value: 2 },
      { op: 'test', path: '/a', value: 1 },
    ]),
  )
  assert.deepEqual(document, { a: 1 })
})

/** RFC 7396 appendix A. */
const RFC7396: [document: unknown, patch: unknown, result: unknown][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
]

for (const [document, patch, result] of RFC7396)
  test(`Merge Patch: ${JSON.stringify(patch)} on ${JSON.stringify(document)} gives the result of RFC 7396`, async () => {
    assert.deepEqual(await patcher.merge(document, patch), result)
  })

standInOnly('a strategic merge patch merges containers by name and keeps the others', () => {
  const document = {
    spec: {
      containers: [
        { name: 'a', image: '1', env: [{ name: 'X', value: '1' }] },
        { name: 'b', image: '1' },
      ],
    },
  }
  const patch = {
    spec: {
      containers: [
        { name: 'a', image: '2', env: [{ name: 'Y', value: '2' }] },
        { name: 'c', image: '3' },
      ],
    },
  }
  assert.deepEqual(strategicMergePatch(document, patch), {
    spec: {
      containers: [
        {
          name: 'a',
          image: '2',
          env: [
            { name: 'X', value: '1' },
            { name: 'Y', value: '2' },
          ],
        },
        { name: 'b', image: '1' },
        { name: 'c', image: '3' },
      ],
    },
  })
})

standInOnly('a strategic merge patch replaces lists that have no merge key', () => {
  assert.deepEqual(strategicMergePatch({ args: ['a'] }, { args: ['b'] }), { args: ['b'] })
})

standInOnly('an unknown directive of a strategic merge patch is refused', () => {
  assert.throws(() => strategicMergePatch({}, { $frob: true }), TypeError)
})
