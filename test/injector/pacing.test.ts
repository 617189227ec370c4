import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pacing } from '../../injector/server/pacing.ts'

describe('pacing of large bodies', () => {
  const paced = () => {
    const later: (() => void)[] = []
    return { turns: pacing((work) => later.push(work)), look: () => later.shift()?.() }
  }

  it('lets up to four arrive freely, and more only four at a time, in their order', () => {
    const { turns, look } = paced()
    const few = Array.from({ length: 4 }, () => turns.begin())
    assert.ok(few.every((body) => !body.mustWait(() => assert.fail())))
    const resumed: number[] = []
    const many = [...few, ...Array.from({ length: 6 }, () => turns.begin())]
    for (const [index, body] of many.entries()) assert.ok(body.mustWait(() => resumed.push(index)))
    look()
    assert.deepEqual(resumed, [0, 1, 2, 3])
    look()
    look()
    assert.deepEqual(resumed, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('counts the end of a body only once', () => {
    const { turns } = paced()
    const [first, ...rest] = Array.from({ length: 5 }, () => turns.begin())
    assert.ok(rest[0]?.mustWait(() => undefined))
    first?.end()
    first?.end()
    assert.ok(rest.every((body) => !body.mustWait(() => assert.fail())))
  })
})
