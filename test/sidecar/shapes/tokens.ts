/** Requests for a session token. */
import { HOST, LEAF, LIST, lines, ours, type Shape, same, TOKEN_PATH, TTL } from './shape.ts'

const put = (...more: readonly string[]) => lines(`PUT ${TOKEN_PATH} HTTP/1.1`, HOST, ...more)
const asking = (seconds: string) => put(`${TTL}: ${seconds}`)

const LIFETIMES: readonly Shape[] = [
  same('six hours', asking('21600'), 200, 'documented'),
  same('one second', asking('1'), 200, 'documented'),
  same('five minutes (Go v2)', asking('300'), 200, 'in use'),
  same('no lifetime', put(), 400, 'documented'),
  same('an empty lifetime', asking(''), 400, 'documented'),
  same('a word', asking('abc'), 400, 'documented'),
  ours('0', asking('0'), 400),
  same('21601 (JS v3 before it checked)', asking('21601'), 400, 'reported'),
  ours('-1', asking('-1'), 400),
  ours('a fraction', asking('60.0'), 400),
  ours('an exponent', asking('6e1'), 400),
  ours('hexadecimal', asking('0x3c'), 400),
  ours('a unit', asking('60s'), 400),
  ours('quotes', asking('"60"'), 400),
  ours('digits that are not ASCII', asking('\u00d9\u00a6\u00d9\u00a0'), 400),
  ours('a lifetime beyond 64 bits', asking('9'.repeat(30)), 400),
  ours('a lifetime beyond 32 bits that would be valid modulo 2^32', asking('4294967356'), 400),
  ours('a plus sign (as the mock)', asking('+60'), 200),
  ours('leading zeros (as the mock)', asking('000060'), 200),
  ours('many leading zeros (as the mock)', asking(`${'0'.repeat(40)}60`), 200),
  ours('spaces and tabs around the lifetime', asking(' \t60\t '), 200),
  same('no space before the lifetime', put(`${TTL}:60`), 200, 'in use'),
  ours('a list', asking('60, 60'), 400),
  ours('the same lifetime twice', put(`${TTL}: 60`, `${TTL}: 60`), 400),
  ours('two different lifetimes', put(`${TTL}: 60`, `${TTL}: 61`), 400),
  same('the header name in lower case (botocore, Rust)', put(`${TTL.toLowerCase()}: 60`), 200, 'in use'),
  same('the header name in upper case', put(`${TTL.toUpperCase()}: 60`), 200, 'documented'),
  same('the header name as Go writes it', put('X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60'), 200, 'in use'),
  ours('the header name with underscores', put(`${TTL.replaceAll('-', '_')}: 60`), 400),
]

const BODIES: readonly Shape[] = [
  same('Content-Length: 0 (JS, botocore, Go)', put(`${TTL}: 60`, 'Content-Length: 0'), 200, 'in use'),
  same('no length at all (curl, Rust)', put(`${TTL}: 60`), 200, 'in use'),
  same(
    'an empty form (Ruby)',
    put(`${TTL}: 60`, 'Content-Type: application/x-www-form-urlencoded', 'Content-Length: 0'),
    200,
    'in use',
  ),
  ours('a small body', `${put(`${TTL}: 60`, 'Content-Length: 3')}x=1`, 200),
  ours('an empty chunked body', `${put(`${TTL}: 60`, 'Transfer-Encoding: chunked')}0\r\n\r\n`, 200),
  ours('a chunked body', `${put(`${TTL}: 60`, 'Transfer-Encoding: chunked')}3\r\nabc\r\n0\r\n\r\n`, 200),
  ours(
    'Expect: 100-continue (.NET Framework, curl)',
    put(`${TTL}: 60`, 'Expect: 100-continue', 'Content-Length: 0'),
    200,
  ),
  ours('an unknown expectation', put(`${TTL}: 60`, 'Expect: the-unexpected', 'Content-Length: 0'), 200),
  ours('a body over 4 KiB', put(`${TTL}: 60`, 'Content-Length: 4097') + 'x'.repeat(4097), 413),
  ours(
    'a chunked body over 4 KiB',
    `${put(`${TTL}: 60`, 'Transfer-Encoding: chunked')}1001\r\n${'x'.repeat(4097)}\r\n0\r\n\r\n`,
    413,
  ),
  ours('a GET with a body', `${lines(`GET ${LEAF} HTTP/1.1`, HOST, 'Content-Length: 1')}x`, 200),
  ours('a GET with Content-Length: 0', lines(`GET ${LEAF} HTTP/1.1`, HOST, 'Content-Length: 0'), 200),
]

const PROXIES: readonly Shape[] = [
  same('X-Forwarded-For', put(`${TTL}: 60`, 'X-Forwarded-For: 10.0.0.1'), 403, 'captured'),
  same(
    'X-Forwarded-For with the metadata address',
    put(`${TTL}: 60`, 'X-Forwarded-For: 169.254.169.254'),
    403,
    'documented',
  ),
  same('an empty X-Forwarded-For', put(`${TTL}: 60`, 'X-Forwarded-For:'), 403, 'documented'),
  same('x-forwarded-for in lower case', put(`${TTL}: 60`, 'x-forwarded-for: 10.0.0.1'), 403, 'documented'),
  same(
    'X-Forwarded-For with a GET',
    lines(`GET ${LEAF} HTTP/1.1`, HOST, 'X-Forwarded-For: 10.0.0.1'),
    200,
    'documented',
  ),
  ours('Via and Forwarded', put(`${TTL}: 60`, 'Via: 1.1 proxy', 'Forwarded: for=10.0.0.1'), 200),
  ours(
    'X-Forwarded-Proto and -Host (service meshes)',
    put(`${TTL}: 60`, 'X-Forwarded-Proto: http', 'X-Forwarded-Host: x'),
    200,
  ),
  ours('Origin', put(`${TTL}: 60`, 'Origin: http://evil.example'), 200),
]

const PATHS: readonly Shape[] = [
  same('a trailing slash', lines(`PUT ${TOKEN_PATH}/ HTTP/1.1`, HOST, `${TTL}: 60`), 403, 'captured'),
  same('a dated version', lines('PUT /2021-03-23/api/token HTTP/1.1', HOST, `${TTL}: 60`), 403, 'documented'),
  same(
    'a doubled slash (Java with an endpoint that ends in one)',
    lines(`PUT /${TOKEN_PATH} HTTP/1.1`, HOST, `${TTL}: 60`),
    200,
    'in use',
  ),
  ours('a query', lines(`PUT ${TOKEN_PATH}?x=1 HTTP/1.1`, HOST, `${TTL}: 60`), 200),
  ours('HTTP/1.0', lines(`PUT ${TOKEN_PATH} HTTP/1.0`, HOST, `${TTL}: 60`), 200),
  same('netcat, with a Host (NixOS)', lines(`PUT ${TOKEN_PATH} HTTP/1.1`, HOST, `${TTL}: 60`), 200, 'in use'),
  same('GET of the token path', lines(`GET ${TOKEN_PATH} HTTP/1.1`, HOST), 405, 'captured'),
  ours('HEAD of the token path', lines(`HEAD ${TOKEN_PATH} HTTP/1.1`, HOST), 405),
  same(
    'POST of the token path',
    lines(`POST ${TOKEN_PATH} HTTP/1.1`, HOST, `${TTL}: 60`, 'Content-Length: 0'),
    405,
    'captured',
  ),
  ours('OPTIONS of the token path', lines(`OPTIONS ${TOKEN_PATH} HTTP/1.1`, HOST), 200),
  same(
    'an invalid token',
    lines(`GET ${LIST} HTTP/1.1`, HOST, 'X-aws-ec2-metadata-token: x'),
    401,
    'documented',
  ),
  same(
    'a token of another instance',
    lines(`GET ${LIST} HTTP/1.1`, HOST, `X-aws-ec2-metadata-token: ${'A'.repeat(54)}==`),
    401,
    'documented',
  ),
  ours('an empty token', lines(`GET ${LIST} HTTP/1.1`, HOST, 'X-aws-ec2-metadata-token:'), 401),
]

export const TOKENS: readonly Shape[] = [...LIFETIMES, ...BODIES, ...PROXIES, ...PATHS]
