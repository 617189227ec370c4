/** What is not HTTP, or not valid HTTP. */
import type { Attacks } from './attack.ts'
import { allowed, DOCUMENT, EVIL_HOST, GOOD_HOST, lines, refused, shape, TOKEN_PATH, TTL } from './wire.ts'

const PUT = `PUT ${TOKEN_PATH} HTTP/1.1`
const GET = `GET ${DOCUMENT} HTTP/1.1`

export const MALFORMED: Attacks = {
  'random bytes': (random) => refused(random.bytes(random.whole(1, 4096)), { requests: 4 }),

  'random bytes after a request line': (random) =>
    refused(`${GET}\r\n${GOOD_HOST}\r\nX: ${random.bytes(random.whole(1, 400))}\0\r\n\r\n`),

  'a request cut short': (random) => {
    const whole = lines(GET, GOOD_HOST, 'User-Agent: aws-cli/2.0')
    const part = { send: whole.slice(0, random.whole(1, whole.length - 1)) }
    return shape(random.chance(0.5) ? [part, { halfClose: true }] : [part])
  },

  'headers too long': (random) =>
    refused(lines(GET, GOOD_HOST, `X-Long: ${'a'.repeat(random.whole(9000, 100_000))}`)),

  // Node counts names and values only: 1,300 of these would still be within 8 KiB.
  'headers too many': (random) =>
    refused(lines(GET, GOOD_HOST, ...Array.from({ length: random.whole(2000, 6000) }, (_, n) => `X${n}: y`))),

  'a path too long': (random) =>
    refused(lines(`GET /latest/${'a'.repeat(random.whole(4097, 60_000))} HTTP/1.1`, GOOD_HOST)),

  'no line end at all': (random) => refused('A'.repeat(random.whole(10_000, 250_000))),

  'a body too long': (random) => {
    const length = random.whole(4097, 100_000)
    return refused(lines(PUT, GOOD_HOST, `${TTL}: 60`, `Content-Length: ${length}`) + 'b'.repeat(length))
  },

  'a length beyond numbers': (random) =>
    refused(lines(PUT, GOOD_HOST, `Content-Length: ${'9'.repeat(random.whole(16, 400))}`)),

  'header injection': (random) => {
    const trick = random.pick([
      `X: a\r${GOOD_HOST}`,
      `X: a\n${GOOD_HOST}`,
      `X: a\r\n ${GOOD_HOST}`,
      `X: a\0${GOOD_HOST}`,
      'Host : 169.254.169.254',
      '\tHost: 169.254.169.254',
      `X: a\r\n\u0085${GOOD_HOST}`,
      ': nameless',
      'no colon',
    ])
    return refused(lines(GET, EVIL_HOST, trick))
  },

  'two Hosts': (random) =>
    refused(
      lines(
        GET,
        ...random.pick([
          [GOOD_HOST, EVIL_HOST],
          [EVIL_HOST, GOOD_HOST],
          [GOOD_HOST, 'host: evil.example'],
          [GOOD_HOST, GOOD_HOST, EVIL_HOST],
        ]),
      ),
    ),

  'no Host': () => allowed([{ send: lines(GET) }]),

  'two lengths, or length and chunks': (random) =>
    refused(
      `${lines(
        PUT,
        GOOD_HOST,
        ...random.pick([
          ['Content-Length: 1', 'Content-Length: 2'],
          ['Content-Length: 4', 'Transfer-Encoding: chunked'],
          ['Transfer-Encoding: chunked', 'Content-Length: 4'],
          ['Content-Length: -1'],
          ['Content-Length: 1, 1'],
          ['Content-Length: +1'],
          ['Content-Length: 0x10'],
          ['Transfer-Encoding: chunked, identity'],
          ['Transfer-Encoding: gzip'],
        ]),
      )}0\r\n\r\n${lines(GET, EVIL_HOST)}`,
      { requests: 2 },
    ),

  'bad chunks': (random) => {
    const body = random.pick([
      'zz\r\n',
      'FFFFFFFFFFFFFFFFFF\r\nabc',
      '-1\r\nabc\r\n',
      '1\r\nabc\r\n',
      `1;${'x'.repeat(random.whole(1000, 60_000))}\r\na\r\n0\r\n\r\n`,
      `${`1;e=${'y'.repeat(200)}\r\na\r\n`.repeat(random.whole(50, 400))}0\r\n\r\n`,
      '5\r\nab',
      `0\r\nX-Trailer: ${'t'.repeat(random.whole(9000, 40_000))}\r\n\r\n`,
      '\r\n\r\n',
    ])
    return refused(lines(PUT, GOOD_HOST, 'Transfer-Encoding: chunked') + body, { requests: 2 })
  },

  'a body of chunks without end': (random) =>
    allowed(
      [
        { send: lines(PUT, GOOD_HOST, `${TTL}: 60`, 'Transfer-Encoding: chunked') },
        ...Array.from({ length: random.whole(5, 30) }, () => ({ send: `1000\r\n${'c'.repeat(4096)}\r\n` })),
      ],
      { entitled: false },
    ),

  'another protocol': (random) =>
    refused(
      random.pick([
        'GET /\r\n\r\n',
        `GET ${DOCUMENT}\r\n\r\n`,
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
        `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${random.bytes(500)}`,
        lines(`GET ${DOCUMENT} HTTP/9.9`, GOOD_HOST),
        lines(`GET ${DOCUMENT} HTTP/3`, GOOD_HOST),
        lines(`GET ${DOCUMENT} HTTQ/1.1`, GOOD_HOST),
        'SSH-2.0-OpenSSH_9.6\r\n',
        'EHLO evil.example\r\nMAIL FROM:<a@evil.example>\r\n',
        '*1\r\n$4\r\nPING\r\n',
        '\0'.repeat(random.whole(1, 5000)),
      ]),
      { requests: 2 },
    ),

  'an upgrade or an expectation': (random) =>
    allowed([
      {
        send: lines(
          GET,
          GOOD_HOST,
          ...random.pick([
            ['Connection: Upgrade', 'Upgrade: websocket'],
            ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQ'],
            ['Expect: 100-continue', 'Content-Length: 10'],
            ['Expect: the-unexpected'],
            ['Connection: close, keep-alive, Host, Content-Length'],
          ]),
        ),
      },
    ]),
}
