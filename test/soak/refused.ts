/** Valid HTTP that requests what nobody may have. */
import type { Attacks } from './attack.ts'
import type { Random } from './random.ts'
import { DOCUMENT, EVIL_HOST, GOOD_HOST, LIST, lines, refused, TOKEN, TOKEN_PATH, TTL } from './wire.ts'

const EVIL_HOSTS = [
  'evil.example',
  '169.254.169.254.evil.example',
  'evil.example:80',
  '127.0.0.1:999999',
  '127.0.0.1, evil.example',
  '127.0.0.1@evil.example',
  'instance-data.evil.example',
  '127.0.0.1.nip.io',
  'fd00:ec2::254.evil.example',
  '0.0.0.0',
  '[::1',
  '.',
] as const

const EVIL_TARGETS = [
  `http://evil.example${DOCUMENT}`,
  `http://127.0.0.1@evil.example${DOCUMENT}`,
  `http://evil.example@127.0.0.1${DOCUMENT}`,
  `http://127.0.0.1:80:80${DOCUMENT}`,
  `http://127.0.0.1.evil.example${DOCUMENT}`,
  `http://evil.example\\@127.0.0.1${DOCUMENT}`,
  `http://${DOCUMENT}`,
  `https://evil.example:443${DOCUMENT}`,
  `ftp://127.0.0.1${DOCUMENT}`,
  `//evil.example${DOCUMENT}`,
  'evil.example:80',
  '127.0.0.1:80',
  '*',
] as const

const EVIL_PATHS = [
  '/latest/meta-data/../../../../etc/passwd',
  '/latest/meta-data/iam/../iam/security-credentials/team/reader',
  `${LIST}team/../team/reader`,
  `${LIST}other-role`,
  `${LIST}team/reader/more`,
  '/latest/user-data',
  '/latest/dynamic/instance-identity/pkcs7',
  '/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance',
  '/latest/meta-data/__proto__',
  '/latest/meta-data/constructor/prototype',
  '/v1/credentials',
  '/proc/self/environ',
] as const

/** Size of a flood in bytes, approximately. */
const MOST_FLOODED = 100_000

const EVIL_ESCAPES = [
  '%00',
  '%0d%0aHost:%20127.0.0.1',
  '%',
  '%zz',
  '%c0%af',
  '%ff',
  '%ed%a0%80',
  '%252f',
  '%20',
]

export const REFUSED: Attacks = {
  'a wrong Host': (random, { token }) =>
    refused(
      lines(...read(random), `Host: ${random.pick(EVIL_HOSTS)}`, ...maybe(random, `${TOKEN}: ${token}`)),
    ),

  'an absolute or authority target': (random, { token }) =>
    refused(
      lines(
        `${random.pick(['GET', 'HEAD', 'CONNECT', 'OPTIONS'])} ${random.pick(EVIL_TARGETS)} HTTP/1.1`,
        GOOD_HOST,
        ...maybe(random, `${TOKEN}: ${token}`),
      ),
    ),

  'a path that leads astray': (random) =>
    refused(lines(`GET ${random.pick(EVIL_PATHS)} HTTP/1.1`, GOOD_HOST)),

  'percent-encoding abused': (random) =>
    refused(
      lines(
        `GET ${random.pick([
          `${DOCUMENT}${random.pick(EVIL_ESCAPES)}`,
          `${LIST}team%252Freader`,
          `/latest/meta-data/%2e%2e/%2e%2e${DOCUMENT}`,
          `/${'%41'.repeat(random.whole(10, 1300))}`,
          `/latest/${random.pick(EVIL_ESCAPES).repeat(random.whole(1, 300))}`,
        ])} HTTP/1.1`,
        GOOD_HOST,
      ),
    ),

  'a bad token': (random, { token }) =>
    refused(lines(...read(random), GOOD_HOST, `${TOKEN}: ${badToken(random, token)}`)),

  'a lifetime that is none': (random) =>
    refused(
      lines(
        `PUT ${TOKEN_PATH} HTTP/1.1`,
        GOOD_HOST,
        ...random.pick([
          [`${TTL}: ${'9'.repeat(random.whole(11, 4000))}`],
          [`${TTL}: 0`],
          [`${TTL}: -1`],
          [`${TTL}: 21601`],
          [`${TTL}: 4294967297`],
          [`${TTL}: 1e3`],
          [`${TTL}: 0x10`],
          [`${TTL}: 60`, `${TTL}: 60`],
          [`${TTL}:`],
          [],
        ]),
        'Content-Length: 0',
      ),
    ),

  'a token through a proxy': (random) =>
    refused(
      lines(
        `PUT ${TOKEN_PATH} HTTP/1.1`,
        GOOD_HOST,
        `${TTL}: 60`,
        `X-Forwarded-For: ${random.pick(['10.1.2.3', '', '169.254.169.254, 10.0.0.1', 'x'.repeat(3000)])}`,
        'Content-Length: 0',
      ),
    ),

  'a wrong method': (random) =>
    refused(
      lines(
        `${random.pick(['POST', 'DELETE', 'PATCH', 'TRACE', 'PUT', 'PROPFIND', 'OPTIONS', 'BREW', 'get'])} ${DOCUMENT} HTTP/1.1`,
        GOOD_HOST,
        'Content-Length: 0',
      ),
    ),

  'a pipelined flood without right': (random, { token }) => {
    const header = random.chance(0.5) ? [EVIL_HOST] : [GOOD_HOST, `${TOKEN}: ${badToken(random, token)}`]
    const one = lines(`GET ${DOCUMENT} HTTP/1.1`, ...header)
    const requests = Math.min(random.whole(20, 100), Math.ceil(MOST_FLOODED / one.length))
    return refused(one.repeat(requests), { requests, linger: 1000 })
  },
}

function read(random: Random): readonly string[] {
  return [`${random.pick(['GET', 'HEAD'])} ${random.pick([DOCUMENT, LIST, '/', '/latest'])} HTTP/1.1`]
}

function maybe(random: Random, line: string): readonly string[] {
  return random.chance(0.5) ? [line] : []
}

/** A token that is never valid, however similar to a valid one. */
function badToken(random: Random, good: string): string {
  const at = random.whole(0, 39)
  return random.pick([
    '',
    'x',
    'A'.repeat(random.whole(1, 7000)),
    good.slice(0, -1),
    `${good}=`,
    `${good}, ${good}`,
    good.slice(0, at) + (good[at] === 'A' ? 'B' : 'A') + good.slice(at + 1),
    good.toLowerCase() === good ? good.toUpperCase() : good.toLowerCase(),
    `AQAA${'A'.repeat(50)}==`,
    `${good.slice(0, 53)}%3D`,
  ])
}
