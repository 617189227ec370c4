/** Request lines, header lines, versions, methods, and data that is not HTTP at all. */
import { HOST, LEAF, LIST, lines, ours, type Shape, same } from './shape.ts'

const GET = `GET ${LEAF} HTTP/1.1`
const with_ = (...headers: readonly string[]) => lines(GET, HOST, ...headers)
const target = (text: string) => lines(`GET ${text} HTTP/1.1`, HOST)
const method = (name: string, path = LEAF) => lines(`${name} ${path} HTTP/1.1`, HOST, 'Content-Length: 0')

const VERSIONS: readonly Shape[] = [
  same('HTTP/1.0 (netcat, ab)', lines(`GET ${LEAF} HTTP/1.0`, HOST), 200, 'in use'),
  ours('HTTP/1.0 with keep-alive', lines(`GET ${LEAF} HTTP/1.0`, HOST, 'Connection: keep-alive'), 200),
  ours('HTTP/1.2', lines(`GET ${LEAF} HTTP/1.2`, HOST), 400),
  ours('HTTP/3', lines(`GET ${LEAF} HTTP/3`, HOST), 400),
  ours('HTTP/2 with prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 400),
  ours(
    'an upgrade to HTTP/2 (Java 11 HttpClient)',
    with_('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQ'),
    200,
  ),
  ours('an upgrade to WebSocket', with_('Connection: Upgrade', 'Upgrade: websocket'), 200),
  ours('HTTP/0.9', `GET ${LEAF}\r\n\r\n`, 400),
  ours('a lower-case protocol', lines(`GET ${LEAF} http/1.1`, HOST), 400),
  ours('TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400),
  ours('another protocol', 'SSH-2.0-OpenSSH_9.6\r\n', 400),
  ours('zeros', '\0'.repeat(100), 400),
  ours('a request that is cut short', `${GET}\r\nHost: 169.254`, 400),
]

const HEADERS: readonly Shape[] = [
  same('header names in lower case', lines(GET, 'host: 169.254.169.254', 'user-agent: x'), 200, 'in use'),
  ours('a header without a value', with_('X-Empty:'), 200),
  same('no space after the colon', with_('User-Agent:curl'), 200, 'in use'),
  ours('a value in Latin-1', with_('User-Agent: M\xfcller'), 200),
  ours('a value in UTF-8', with_('User-Agent: M\xc3\xbcller'), 200),
  ours('a tab in a value', with_('User-Agent: a\tb'), 200),
  ours('a control character in a value', with_('User-Agent: a\x01b'), 400),
  ours('a space before the colon', with_('X-A : b'), 400),
  ours('a space in the name', with_('X A: b'), 400),
  ours('a header without a name', with_(': b'), 400),
  ours('a header without a colon', with_('X-A'), 400),
  ours('a folded header', with_('X-A: b', ' c'), 400),
  ours('lines that end in LF only', `${GET}\n${HOST}\n\n`, 400),
  ours('empty lines before the request', `\r\n\r\n${with_()}`, 200),
  ours('an empty line after the last request', `${with_('Connection: close')}\r\n`, 200),
  ours('a newline after the last request (echo, netcat)', `${with_('Connection: close')}\n`, 200),
  ours('another request after the last one', with_('Connection: close') + with_(), 200),
  ours('a hundred header lines', lines(GET, HOST, ...Array.from({ length: 99 }, (_, n) => `X-${n}: y`)), 200),
  ours(
    'a hundred and one header lines',
    lines(GET, HOST, ...Array.from({ length: 100 }, (_, n) => `X-${n}: y`)),
    431,
  ),
  ours('headers of 7 KiB (baggage of OpenTelemetry)', with_(`baggage: ${'a'.repeat(7000)}`), 200),
  ours('headers over 8 KiB', with_(`X-Long: ${'a'.repeat(8200)}`), 431),
  same('Accept-Encoding: gzip (Go)', with_('Accept-Encoding: gzip'), 200, 'captured'),
  ours('Accept: application/json', with_('Accept: application/json'), 200),
  ours('Range', with_('Range: bytes=0-3'), 200),
  ours('If-None-Match', with_('If-None-Match: *'), 200),
  ours('Origin', with_('Origin: http://evil.example'), 200),
  ours('Sec-Fetch of a browser', with_('Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: no-cors'), 200),
  ours('Authorization', with_('Authorization: Basic eDp5'), 200),
  ours('Cookie', with_('Cookie: a=b'), 200),
  ours('Metadata-Flavor: Google', with_('Metadata-Flavor: Google'), 200),
  ours('two lengths', `${with_('Content-Length: 1', 'Content-Length: 2')}ab`, 400),
  ours('length and chunks', `${with_('Content-Length: 4', 'Transfer-Encoding: chunked')}0\r\n\r\n`, 400),
  ours('a negative length', with_('Content-Length: -1'), 400),
  ours('a length that is not a number', with_('Content-Length: x'), 400),
  ours(
    'chunks with an invalid size',
    `${lines('PUT /latest/api/token HTTP/1.1', HOST, 'Transfer-Encoding: chunked')}zz\r\n`,
    400,
  ),
]

const METHODS: readonly Shape[] = [
  same('GET', method('GET'), 200, 'documented'),
  same('HEAD', method('HEAD'), 200, 'documented'),
  same('POST', method('POST'), 405, 'documented'),
  same('PUT', method('PUT'), 405, 'documented'),
  same('DELETE', method('DELETE'), 405, 'documented'),
  ours('OPTIONS', method('OPTIONS'), 405),
  ours('PATCH', method('PATCH'), 405),
  ours('TRACE', method('TRACE'), 405),
  ours('PROPFIND', method('PROPFIND'), 405),
  ours('CONNECT', lines('CONNECT 169.254.169.254:80 HTTP/1.1', HOST), 405),
  ours('OPTIONS of everything', method('OPTIONS', '*'), 405),
  ours('a method in lower case', method('get'), 400),
  ours('an unknown method', method('BREW'), 400),
]

const TARGETS: readonly Shape[] = [
  same('a leaf', target(LEAF), 200, 'documented'),
  same(
    'a leaf with a slash (botocore’s zone, Datadog)',
    target('/latest/meta-data/placement/availability-zone/'),
    200,
    'in use',
  ),
  same('a list without a slash (C++, .NET)', target(LIST.slice(0, -1)), 200, 'captured'),
  same('doubled slashes (Java)', target(`/${LEAF}`), 200, 'in use'),
  ours('many slashes', target('//latest///meta-data//instance-id'), 200),
  ours('a query', target(`${LEAF}?recursive=true`), 200),
  ours('a fragment', target(`${LEAF}#x`), 200),
  same('a dated version (cloud-init)', target('/2009-04-04/meta-data/instance-id'), 200, 'documented'),
  same('version 1.0', target('/1.0/meta-data/instance-id'), 200, 'documented'),
  ours('the path in upper case', target(LEAF.toUpperCase()), 404),
  ours('an encoded letter', target('/latest/meta-data/instance-%69d'), 200),
  ours('an encoded slash', target('/latest%2Fmeta-data%2finstance-id'), 200),
  ours('an invalid escape', target('/latest/%zz'), 404),
  ours('a NUL', target('/latest/%00'), 404),
  ours('dots', target('/latest/meta-data/placement/../instance-id'), 404),
  ours('a space', target('/latest/meta data'), 400),
  ours('bytes that are not ASCII', target('/latest/\xe9'), 400),
  ours('a target without a slash at its beginning', target('latest/meta-data'), 400),
  ours('two spaces around the target', `GET  ${LEAF}  HTTP/1.1\r\n${HOST}\r\n\r\n`, 200),
  same('an unknown leaf', target('/latest/meta-data/nothing'), 404, 'captured'),
  ours('a target of 4096 characters', target(`/${'a'.repeat(4095)}`), 404),
  ours('a target of 4097 characters', target(`/${'a'.repeat(4096)}`), 414),
  ours('a target longer than the limit for all headers', target(`/${'a'.repeat(9000)}`), 431),
]

export const LINES: readonly Shape[] = [...VERSIONS, ...HEADERS, ...METHODS, ...TARGETS]
