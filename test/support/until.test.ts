import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually, Hopeless, until } from './until.ts'

const PATIENCE = { deadlineMs: 20, pollMs: 1 }

test('a wait ends with the first answer that is not false, undefined or null', async () => {
  const answers = [undefined, null, false, 0]
  assert.equal(await until('an answer', () => answers.shift(), PATIENCE), 0)
})

test('a wait that ends at its deadline says what it waited for, with the detail', async () => {
  const never = () => false
  await assert.rejects(until('rain', never, PATIENCE), { message: 'rain: not within 0.02 s' })
  await assert.rejects(until(never, PATIENCE), { message: '() => false: not within 0.02 s' })
  const detail = () => 'The sky is blue.'
  await assert.rejects(until('rain', never, { ...PATIENCE, detail }), {
    message: 'rain: not within 0.02 s\nThe sky is blue.',
  })
})

test('an error of the condition ends a wait', async () => {
  const wrong = new Error('wrong')
  let looks = 0
  const fails = () => {
    looks++
    throw wrong
  }
  await assert.rejects(until('an answer', fails), wrong)
  assert.equal(looks, 1)
})

test('an error of the condition does not end a wait for something that may not be available yet', async () => {
  let looks = 0
  const comes = () => {
    if (++looks < 3) throw new Error('refused')
    return 'there'
  }
  assert.equal(await eventually('an answer', comes), 'there')
  const cause = new Error('refused')
  await assert.rejects(
    eventually('an answer', () => Promise.reject(cause), PATIENCE),
    { message: 'an answer: not within 0.02 s: refused', cause },
  )
  const over = new Hopeless('it has ended')
  await assert.rejects(
    eventually('an answer', () => Promise.reject(over)),
    over,
  )
})

test('a wait ends when its signal is aborted', async () => {
  const stop = new AbortController()
  const reason = new Error('stopped')
  const wait = until(
    'an answer',
    () => {
      stop.abort(reason)
      return false
    },
    { signal: stop.signal },
  )
  await assert.rejects(wait, (error: Error) => error === reason || error.cause === reason)
})
