/** The result of the gate's connection attempts, without a network namespace. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { dial } from '../../common/block/dial.ts'
import { listening } from '../support/listening.ts'

const TIMEOUT_MS = 20

/** Dials, and then blocks this process until long after the timeout, as on a busy machine. */
function dialWithoutTime(port: number): Promise<string> {
  const result = dial('127.0.0.1', port, TIMEOUT_MS)
  // The connection is started in the next tick, before this callback.
  process.nextTick(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TIMEOUT_MS * 5))
  return result
}

test('an answer that arrives while the process has no CPU time does not count as silence, which would be a block with --accept-drop', async () => {
  const server = createServer((socket) => socket.destroy())
  const port = await listening(server)
  const result = await dialWithoutTime(port)
  server.close()
  assert.equal(result, 'answered')
})
