/** Which connection is closed when all are taken, over real TCP. Addresses of 127.0.0.0/8 stand for peers. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { after, test } from 'node:test'
import { boundedConnections, type Connections, limitPipelining } from '../../common/connections.ts'
import { listening } from '../support/listening.ts'
import { eventually } from '../support/until.ts'

const ends: (() => void)[] = []
after(() => {
  for (const end of ends) end()
})

/** A server that answers nothing by itself: `waiting` holds its answers. */
async function bounded(connections: Connections, pipelined = 16) {
  const waiting: ServerResponse[] = []
  const server = createServer(limitPipelining(pipelined, (_, outgoing) => void waiting.push(outgoing)))
  connections.watch(server)
  server
  const port = await listening(server)
  const sockets: Socket[] = []
  ends.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    server.closeAllConnections()
  })
  /** A connection of `peer`, with a request under way or idle. */
  const open = async (peer: string, isBusy = false): Promise<Socket> => {
    const socket = connect({ host: '127.0.0.1', port, localAddress: peer })
    socket.on('error', () => {}).resume()
    sockets.push(socket)
    const known = waiting.length
    const accepted = once(server, 'connection')
    await Promise.all([once(socket, 'connect'), accepted])
    if (isBusy && !socket.closed) {
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      await eventually('the request or its refusal', () => waiting.length > known || socket.closed)
    }
    return socket
  }
  return { open, waiting }
}

const [A, B, C] = ['127.0.1.1', '127.0.1.2', '127.0.1.3']

test('when all connections are taken, the longest idle one of the address with the most connections is closed', async () => {
  const connections = boundedConnections({ max: 4 })
  const { open } = await bounded(connections)
  const one = await open(A)
  const many = [await open(B, true), await open(B), await open(B)]
  await open(C)
  await eventually('one ends', () => many[1]?.closed)
  assert.deepEqual(
    [one, ...many].map(({ closed }) => closed),
    [false, false, true, false],
  )
  assert.equal(connections.count(), 4)
})

test('an address whose connections are all busy loses its oldest one to an address with fewer, and to no other', async () => {
  const { open } = await bounded(boundedConnections({ max: 3 }))
  const many = [await open(A, true), await open(A, true), await open(A, true)]
  const more = await open(A)
  await eventually('the fourth is refused', () => more.closed)
  assert.ok(many.every(({ closed }) => !closed))
  const other = await open(B)
  await eventually('the oldest ends', () => many[0]?.closed)
  assert.ok(!other.closed && !many[1]?.closed)
})

test('a connection becomes idle when its request is answered, and counts as idle only since then', async () => {
  const { open, waiting } = await bounded(boundedConnections({ max: 2 }))
  const first = await open(A, true)
  const second = await open(A)
  waiting[0]?.end()
  await eventually('answered', () => waiting[0]?.closed)
  await open(A)
  await eventually('the second ends', () => second.closed)
  assert.equal(first.closed, false)
})

test('each address has its own limit, however many connections are free and however the address is written', async () => {
  const connections = boundedConnections({ max: 100, maxPerPeer: 2, peerOf: () => 'the same' })
  const { open } = await bounded(connections)
  const [first, , third] = [await open(A), await open(B), await open(C)]
  await eventually('the third is refused', () => third.closed)
  first.destroy()
  await eventually('free again', () => connections.count() === 1)
  assert.equal((await open(A)).closed, false)
})

test('a connection is closed when it has more requests in flight than allowed, and not when it has exactly as many', async () => {
  const { open, waiting } = await bounded(boundedConnections({ max: 4 }), 2)
  const good = await open(A)
  good.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2))
  await eventually('both arrive', () => waiting.length === 2)
  const bad = await open(A)
  bad.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3))
  await eventually('ended', () => bad.closed)
  assert.equal(good.closed, false)
  assert.equal(waiting.length, 4)
})
