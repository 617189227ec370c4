/** The sidecar's HTTP client over real TCP: it reads complete answers in any pieces, and rejects everything else. */
import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { after, describe, test } from 'node:test'
import fc from 'fast-check'
import { AnswerError, type GetOptions, get } from '../../sidecar/http/get.ts'
import { listening } from '../support/listening.ts'

const servers: Server[] = []
after(() => {
  for (const server of servers) server.close()
})

const DEFAULTS = { path: '/v1', connectTimeout: 2000, answerTimeout: 2000, maxBody: 1000 }

async function optionsFor(server: Server): Promise<GetOptions> {
  servers.push(server)
  return { ...DEFAULTS, host: '127.0.0.1', port: await listening(server) }
}

/** A server that answers with these pieces, one packet each, and then closes the connection, unless `stay` is set. */
function speaking(pieces: readonly string[], stay = false): Promise<GetOptions> {
  return optionsFor(
    createTcpServer({ noDelay: true }, (socket: Socket) => {
      socket.on('error', () => {})
      socket.once('data', async () => {
        for (const piece of pieces) {
          await new Promise((done) => socket.write(piece, done))
          await new Promise((done) => setImmediate(done))
        }
        if (!stay) socket.end()
      })
    }),
  )
}

function http(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<GetOptions> {
  return optionsFor(createServer({ requireHostHeader: false }, handler))
}

describe('the HTTP client of the sidecar', () => {
  test('sends Host and the given headers, and returns status, headers and body', async () => {
    let seen: IncomingMessage | undefined
    const options = await http((request, response) => {
      seen = request
      response.writeHead(503, { 'Retry-After': '7' }).end('{"ü":1}')
    })
    const { status, header, body } = await get({
      ...options,
      path: '/v1/x',
      headers: { Authorization: 'Bearer t' },
    })
    assert.deepEqual([status, header('retry-after'), header('none'), body], [503, '7', undefined, '{"ü":1}'])
    assert.deepEqual([seen?.method, seen?.url, seen?.headers.authorization], ['GET', '/v1/x', 'Bearer t'])
    assert.equal(seen?.headers.host, `127.0.0.1:${options.port}`)
  })

  test('reads an answer without a length, as node:http streams it, until it is complete', async () => {
    const options = await http((_request, response) => {
      response.write('one ')
      response.end('two')
    })
    assert.equal((await get(options)).body, 'one two')
  })

  test('does not wait for the end of a connection when the length is known', async () => {
    const options = await speaking(['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'], true)
    assert.equal((await get({ ...options, answerTimeout: 60_000 })).body, 'ok')
  })

  test('reads an answer whatever the pieces it arrives in', async () => {
    const whole = 'HTTP/1.1 200 OK\r\nX-A:  b \r\ncontent-length: 7\r\n\r\ngr\u00fcn\r\n'
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(whole.length), { maxLength: 5 }), async (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), whole.length]
        const pieces = at.slice(1).map((end, index) => whole.slice(at[index], end))
        const { status, header, body } = await get(await speaking(pieces.filter(Boolean)))
        assert.deepEqual([status, header('x-a'), body], [200, 'b', 'gr\u00fcn\r\n'])
      }),
      { numRuns: 30 },
    )
  })

  const NONE: [string, string[]][] = [
    ['another protocol', ['SSH-2.0-OpenSSH_9\r\n']],
    ['another version of HTTP', ['HTTP/2 200\r\n\r\n']],
    ['an invalid status', ['HTTP/1.1 99 Low\r\n\r\n']],
    ['an interim answer', ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n']],
    ['a header line without a colon', ['HTTP/1.1 200 OK\r\nnonsense\r\n\r\n']],
    ['a folded header line', ['HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n']],
    ['two lengths', ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab']],
    ['a length that is not a number', ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n']],
    ['a chunked body', ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n']],
    ['a head without end', [`HTTP/1.1 200 OK\r\nA: ${'b'.repeat(9000)}`]],
    ['a connection that ends inside the head', ['HTTP/1.1 200 OK\r\nA: b\r\n']],
    ['an announced body that is too long', ['HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n']],
    ['a body that is too long', [`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(1001)}`]],
  ]
  for (const [what, pieces] of NONE)
    test(`rejects ${what}`, async () => {
      await assert.rejects(get(await speaking(pieces)), AnswerError)
    })

  test('rejects a body that is cut short', async () => {
    const options = await speaking(['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'])
    await assert.rejects(get(options), /ended before the answer was complete/)
    await assert.rejects(get(await speaking([])), /ended before the answer was complete/)
  })

  test('gives up when there is no complete answer in time', async () => {
    const options = await speaking(['HTTP/1.1 200 OK\r\n'], true)
    await assert.rejects(get({ ...options, answerTimeout: 50 }), /no complete answer within 50 ms/)
  })

  test('gives the error code of a refused connection', async () => {
    const options = await speaking([])
    servers.at(-1)?.close()
    await assert.rejects(get(options), { code: 'ECONNREFUSED' })
  })

  test('refuses to send a path or header that would break its line', async () => {
    let asked = 0
    const options = await http((_request, response) => {
      asked++
      response.end()
    })
    for (const bad of [
      { path: '/a b\r\nX: y' },
      { headers: { A: 'b\r\nC: d' } },
      { headers: { A: 'caf\u00e9' } },
    ])
      await assert.rejects(get({ ...options, ...bad }), /does not allow/)
    assert.equal(asked, 0)
  })
})
