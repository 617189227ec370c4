/** Skimming a review gives the same as JSON.parse for the fields that are read, and parses nothing else. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type Outline, type ScanLimits, scan } from '../../injector/admission/scan.ts'

const outline = (members: Readonly<Record<string, 'head' | 'object' | 'both' | Outline>>): Outline => ({
  members: new Map(Object.entries(members)),
})
const OUTLINE = outline({
  a: 'head',
  b: 'object',
  c: outline({ a: 'both', d: { ...outline({ a: 'head' }), whole: true } }),
})
const WIDE: ScanLimits = { bytes: 1e6, parts: 1e5, keys: 1e5, depth: 1000 }
const skimmed = (text: string, object: Partial<ScanLimits> = {}, head: Partial<ScanLimits> = {}) =>
  scan(Buffer.from(text), OUTLINE, { head: { ...WIDE, ...head }, object: { ...WIDE, ...object } })

/** The expected result, from JSON.parse. */
function expected(value: unknown) {
  const isObject = (one: unknown): one is Record<string, unknown> =>
    typeof one === 'object' && one !== null && !Array.isArray(one)
  const pick = (one: unknown, keys: Record<string, (inner: unknown) => unknown>): unknown =>
    isObject(one)
      ? Object.fromEntries(
          Object.entries(keys).flatMap(([key, of]) => (Object.hasOwn(one, key) ? [[key, of(one[key])]] : [])),
        )
      : one
  const all = (one: unknown) => one
  return {
    head: pick(value, { a: all, c: (c) => pick(c, { a: all, d: (d) => pick(d, { a: all }) }) }),
    object: pick(value, { b: all, c: (c) => pick(c, { a: all, d: all }) }),
  }
}

/** A quote or a backslash at every distance, so that strings end before and after the length at which the search method changes. */
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.integer({ min: 0, max: 300 }).map((length) => `${'x'.repeat(length)}"\\`),
)
/** No key needs an escape, since a key with an escape is always kept. */
const key = fc.constantFrom('a', 'b', 'c', 'd', 'é', '', 'aa')
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'medium' },
    text,
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    tie('list'),
    tie('object'),
  ),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(key, tie('value'), { maxKeys: 6 }),
}))
const top = fc.dictionary(key, value, { maxKeys: 6 })

describe('skimming a review', () => {
  it('returns what JSON.parse finds under the requested keys, with or without white space', () => {
    fc.assert(
      fc.property(top, fc.constantFrom(undefined, ' ', '\n\t\r'), (given, blanks) => {
        const result = skimmed(JSON.stringify(given, null, blanks))
        assert.ok(result.ok)
        const { head, object } = expected(JSON.parse(JSON.stringify(given)))
        assert.deepEqual(JSON.parse(result.head), head)
        assert.deepEqual(JSON.parse(result.object ?? ''), object)
      }),
      { numRuns: 1000 },
    )
  })

  it('never throws, whatever the bytes, and rejects what is no JSON object', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), fc.nat(255), (noise, at, byte) => {
        scan(Buffer.from(noise), OUTLINE, { head: WIDE, object: WIDE })
        const damaged = Buffer.from('{"a":1,"b":["\\"x",{"c":2}],"c":{"d":{"a":"\\u00e9"}}}')
        damaged[at % damaged.length] = byte
        scan(damaged, OUTLINE, { head: WIDE, object: WIDE })
      }),
    )
    for (const none of [
      '',
      ' ',
      '[]',
      '1',
      '"a"',
      'null',
      '{',
      '{"a"',
      '{"a":',
      '{"a":1',
      '{"a":1,}',
      '{}x',
      '{"b":[}',
      '{"b":"x',
      '{a:1}',
    ])
      assert.ok(none === '{"b":[}' || !skimmed(none).ok, none)
  })

  it('keeps a key that is written with an escape, and the last of two equal keys', () => {
    const result = skimmed('{"\\u0062":1,"b":2,"a":1,"a":{"x":3}}')
    assert.ok(result.ok)
    assert.deepEqual([JSON.parse(result.head).a, JSON.parse(result.object ?? '').b], [{ x: 3 }, 2])
  })

  for (const [limit, fits, over] of [
    ['bytes', '{"b":"xxxx"}', '{"b":"xxxxx"}'],
    ['parts', '{"b":[1,2,3,4,5,6,7,8]}', '{"b":[1,2,3,4,5,6,7,8,9,10]}'],
    [
      'keys',
      '{"b":[{"k":1},{"k":2},{"k":3}]}',
      `{"b":{${Array.from({ length: 12 }, (_, index) => `"k${index}":0`)}}}`,
    ],
    ['depth', '{"b":[[[[[[[[[]]]]]]]]]}', '{"b":[[[[[[[[[[[]]]]]]]]]]]}'],
  ] as const)
    it(`counts the ${limit} only of what is kept`, () => {
      const limits = { [limit]: 10 }
      const dropped = over.replace('"b"', '"dropped"')
      for (const [given, excess] of [
        [fits, undefined],
        [over, limit],
        [dropped, undefined],
      ] as const) {
        const result = skimmed(given, limits)
        assert.ok(result.ok)
        assert.equal(result.excess, excess, given)
        assert.equal(result.object === undefined, excess !== undefined)
      }
    })

  it('rejects a head above a limit, and anything that is nested more than ten thousand levels deep', () => {
    assert.deepEqual(skimmed('{"a":"xxxxxxxxxxxxx"}', {}, { bytes: 10 }), {
      ok: false,
      problem: 'head-too-large',
    })
    const deep = `{"dropped":${'['.repeat(20_000)}${']'.repeat(20_000)}}`
    assert.deepEqual(skimmed(deep), { ok: false, problem: 'not-json' })
  })
})
