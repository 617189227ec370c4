/** Keep-alive connections that the server closes at the moment they are used again. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { httpRequest } from '../../common/http-request.ts'
import { eventually } from '../support/until.ts'

/** A server that counts requests and connections, and a client with one idle keep-alive connection to it. */
async function kept(t: TestContext, place: { host: string; port: number } | { path: string }) {
  let requests = 0
  const sockets: Socket[] = []
  const server = createServer((_, response) => {
    requests++
    response.end('answer')
  }).on('connection', (socket: Socket) => sockets.push(socket))
  await once(server.listen(place), 'listening')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => {
    agent.destroy()
    server.close()
    server.closeAllConnections()
  })
  const port = 'path' in place ? 80 : (server.address() as AddressInfo).port
  const ask = (method = 'GET') =>
    httpRequest(new URL(`http://127.0.0.1:${port}/`), {
      ...('path' in place ? { socketPath: place.path } : {}),
      ...{ method, agent, timeoutMs: 30_000, maxBytes: 1000 },
    })
  await ask()
  await eventually('the connection is idle', () => Object.keys(agent.freeSockets).length === 1)
  return { ask, giveUp: () => sockets.at(-1)?.destroy(), seen: () => [requests, sockets.length] }
}

test('a GET is sent again on a new connection when the server closes the kept one meanwhile', async (t) => {
  const { ask, giveUp, seen } = await kept(t, { host: '127.0.0.1', port: 0 })
  giveUp()
  assert.equal((await ask()).body, 'answer')
  assert.deepEqual(seen(), [2, 2])
})

test('a GET is sent again also when writing it already fails because the connection is closed (EPIPE)', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'p2h-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const { ask, giveUp, seen } = await kept(t, { path: join(directory, 's') })
  giveUp()
  assert.equal((await ask()).body, 'answer')
  assert.deepEqual(seen(), [2, 2])
})

test('a request other than GET is not sent again, since the server may have received it', async (t) => {
  const { ask, giveUp, seen } = await kept(t, { host: '127.0.0.1', port: 0 })
  giveUp()
  await assert.rejects(ask('POST'), { code: 'ECONNRESET' })
  assert.equal((await ask()).body, 'answer')
  assert.deepEqual(seen(), [2, 2])
})
