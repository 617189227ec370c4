/** What the gate sees when it dials, without a network namespace. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { dial } from '../../common/block/dial.ts'
import { listening } from '../support/listening.ts'

const TIMEOUT_MS = 20

/** Dials, and gets no time from when the connection is under way until long after the timeout, as where CPU is short. */
function dialWithoutTime(port: number): Promise<string> {
  const result = dial('127.0.0.1', port, TIMEOUT_MS)
  // The connection is begun at the next tick, before this one.
  process.nextTick(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TIMEOUT_MS * 5))
  return result
}

test('an answer that came while the process got no time is no silence: with --accept-drop silence is a block', async () => {
  const server = createServer((socket) => socket.destroy())
  const port = await listening(server)
  const result = await dialWithoutTime(port)
  server.close()
  assert.equal(result, 'answered')
})
