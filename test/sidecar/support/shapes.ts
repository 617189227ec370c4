/** Sends request shapes as exact bytes over TCP, and checks the status of the final answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Shape } from '../shapes/index.ts'
import { parseAnswers, type RawAnswer, send } from './raw.ts'

/** The final answer, or undefined if the connection ended without one. */
async function answerTo(port: number, { send: bytes }: Shape): Promise<RawAnswer | undefined> {
  const text = await send(port, bytes, { halfClose: true })
  const answers = parseAnswers(text, bytes.startsWith('HEAD ')).filter(({ status }) => status >= 200)
  assert.ok(answers.length <= 1, `more than one answer: ${text}`)
  return answers[0]
}

/** Registers one test for each shape. */
export function testShapes(port: () => number, shapes: readonly Shape[]): void {
  for (const shape of shapes)
    test(`${shape.what}: ${shape.ours}`, async () => {
      const answer = await answerTo(port(), shape)
      assert.equal(answer?.status ?? 'none', shape.ours)
      if (answer === undefined) return
      assert.equal(answer.headers.get('server'), 'EC2ws')
      assert.equal(answer.headers.get('access-control-allow-origin'), undefined)
      if (answer.status === 200 && /^(?:GET|PUT) /.test(shape.send)) assert.notEqual(answer.body, '')
    })
}
