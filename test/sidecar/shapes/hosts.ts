/** The host that a request names: EC2 answers whatever `Host` says; the sidecar refuses names that are not EC2's own. */
import { LEAF, LIST, lines, ours, type Shape, same, stricter, TOKEN_PATH, TTL } from './shape.ts'

const read = (...host: readonly string[]) => lines(`GET ${LEAF} HTTP/1.1`, ...host)
const absolute = (target: string, ...host: readonly string[]) => lines(`GET ${target} HTTP/1.1`, ...host)

const NONE: readonly Shape[] = [
  same('no Host, HTTP/1.1 (aws-c-auth before 0.6.29)', read(), 200, 'in use'),
  same(
    'no Host, the list',
    lines(
      `GET ${LIST} HTTP/1.1`,
      'Accept: */*',
      'User-Agent: aws-sdk-crt/ec2-instance-metadata-service-client',
    ),
    200,
    'in use',
  ),
  same(
    'no Host, a token (aws-c-auth before 0.6.29)',
    lines(
      `PUT ${TOKEN_PATH} HTTP/1.1`,
      `${TTL}: 21600`,
      'Accept: */*',
      'User-Agent: aws-sdk-crt/ec2-instance-metadata-service-client',
    ),
    200,
    'in use',
  ),
  same('no Host, HTTP/1.0 (netcat)', lines(`GET ${LEAF} HTTP/1.0`), 200, 'in use'),
  same('no Host, HEAD', lines(`HEAD ${LEAF} HTTP/1.1`), 200, 'reported'),
  ours('an empty Host', read('Host:'), 200),
  ours('an empty Host, HTTP/1.0', lines(`GET ${LEAF} HTTP/1.0`, 'Host: '), 200),
]

const OWN: readonly Shape[] = [
  same('the address', read('Host: 169.254.169.254'), 200, 'documented'),
  same('the address and port 80 (Go, Terraform)', read('Host: 169.254.169.254:80'), 200, 'in use'),
  same('the IPv6 address in brackets', read('Host: [fd00:ec2::254]'), 200, 'documented'),
  same('the IPv6 address in brackets and port 80', read('Host: [fd00:ec2::254]:80'), 200, 'in use'),
  same('the IPv6 address without brackets (awscrt)', read('Host: fd00:ec2::254'), 200, 'in use'),
  same(
    'a request for a token with the IPv6 address without brackets (awscrt)',
    lines(`PUT ${TOKEN_PATH} HTTP/1.1`, 'Host: fd00:ec2::254', `${TTL}: 21600`),
    200,
    'in use',
  ),
  same('instance-data (scripts)', read('Host: instance-data'), 200, 'in use'),
  same(
    'a request for a token with the name instance-data (scripts)',
    lines(`PUT ${TOKEN_PATH} HTTP/1.1`, 'Host: instance-data', `${TTL}: 21600`),
    200,
    'in use',
  ),
  same('instance-data and port 80', read('Host: instance-data:80'), 200, 'reported'),
  same('instance-data.ec2.internal (scripts)', read('Host: instance-data.ec2.internal'), 200, 'in use'),
  same(
    'instance-data.ec2.internal with the root dot',
    read('Host: instance-data.ec2.internal.'),
    200,
    'reported',
  ),
  same(
    'instance-data of a Region (scripts)',
    read('Host: instance-data.us-west-2.compute.internal'),
    200,
    'in use',
  ),
  same(
    'instance-data of a Region of GovCloud',
    read('Host: instance-data.us-gov-west-1.compute.internal'),
    200,
    'reported',
  ),
  same('instance-data in upper case', read('Host: INSTANCE-DATA'), 200, 'reported'),
  same(
    'the header name in lower case (HTTP libraries of Node, Rust)',
    read('host: 169.254.169.254'),
    200,
    'in use',
  ),
  same('no space after the colon', read('Host:169.254.169.254'), 200, 'in use'),
  ours('spaces and tabs around the name', read('Host: \t169.254.169.254 \t '), 200),
]

/** Literal addresses. They have no name which an attacker could have made resolve to this address. */
const LITERALS: readonly Shape[] = [
  ['with the root dot', '169.254.169.254.'],
  ['with the root dot and a port', '169.254.169.254.:80'],
  ['with an empty port', '169.254.169.254:'],
  ['and another port (mode env)', '169.254.169.254:9169'],
  ['as one number', '2852039166'],
  ['in hexadecimal', '0xa9fea9fe'],
  ['in hexadecimal parts', '0xA9.0xFE.0xA9.0xFE'],
  ['in octal', '0251.0376.0251.0376'],
  ['mapped into IPv6', '[::ffff:169.254.169.254]'],
  ['mapped into IPv6 without brackets', '::ffff:a9fe:a9fe'],
  ['IPv6 in upper case', '[FD00:EC2::254]'],
  ['IPv6 in upper case without brackets', 'FD00:EC2::254'],
  ['IPv6 expanded', '[fd00:0ec2:0000:0000:0000:0000:0000:0254]'],
  ['IPv6 expanded without brackets', 'fd00:ec2:0:0:0:0:0:254'],
  ['IPv6 without brackets and with a port', 'fd00:ec2::254:80'],
  ['IPv6 expanded without brackets and with a port', 'fd00:ec2:0:0:0:0:0:254:80'],
  ['IPv6 with an empty port', '[fd00:ec2::254]:'],
  ['IPv6 with a zone', '[fd00:ec2::254%eth0]'],
  ['IPv6 with an encoded zone', '[fd00:ec2::254%25eth0]:80'],
  ['IPv6 with a zone without brackets', 'fd00:ec2::254%eth0'],
].map(([what, host]) => same(`the address ${what}`, read(`Host: ${host}`), 200, 'reported'))

/** In mode `env` clients send requests to 127.0.0.1:9169. */
const LOOPBACK: readonly Shape[] = [
  '127.0.0.1',
  '127.0.0.1:9169',
  '127.0.0.1.',
  '127.1',
  '2130706433',
  '0x7f.0.0.1',
  '127.0.0.53:9169',
  'localhost',
  'LocalHost:9169',
  'localhost.',
  '[::1]',
  '[::1]:9169',
  '::1',
  '::1:9169',
  '[0:0:0:0:0:0:0:1]',
  '[::1%lo]',
  '[::ffff:127.0.0.1]:9169',
].map((host) => ours(`loopback as ${host}`, read(`Host: ${host}`), 200))

/** DNS rebinding: a browser sends the name of the page, which is the attacker's. */
const FOREIGN: readonly Shape[] = [
  'evil.example',
  'evil.example:80',
  '169.254.169.254.nip.io',
  '169.254.169.254.evil.example',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  'instance-data.evil.example',
  'instance-data.ec2.internal.evil.example',
  'instance-data.evil.compute.internal',
  'evil.instance-data',
  'xn--instance-data',
  'instance-data-ec2.internal',
  '0.0.0.0',
  '[::]',
  '169.254.169.253',
  '10.0.0.10',
  '[fd00:ec2::253]',
].map((host) => stricter(`the name ${JSON.stringify(host)}`, read(`Host: ${host}`), 403, 200, 'reported'))

/** Texts that are no valid authority: an attacker hopes that two parsers read them differently. */
const NEITHER: readonly Shape[] = [
  '169.254.169.254:80:80',
  '169.254.169.254:evil',
  '127.0.0.1:999999',
  'fd00:ec2::254.evil.example',
  '[fd00:ec2::254].evil.example',
  '[fd00:ec2::254',
  'fd00:ec2::254]',
  '[169.254.169.254]',
  '%6cocalhost',
  'localhost%00',
  '\u00b9\u00b2\u00b77.0.0.1',
  '.',
  ',',
].map((host) => ours(`the invalid authority ${JSON.stringify(host)}`, read(`Host: ${host}`), 403))

/** Texts that would end the authority of a URL, so that the rest of it would name another path. */
const NO_AUTHORITY: readonly Shape[] = [
  'evil@169.254.169.254',
  '169.254.169.254@evil.example',
  'evil.example#169.254.169.254',
  '169.254.169.254#x',
  'evil.example\\169.254.169.254',
  '169.254.169.254\\',
  '169.254.169.254/',
  `169.254.169.254${LIST}?`,
  '169.254.169.254?x',
  '169.254.169.254 x',
  '169.254.169.254\tx',
  'evil.example, 169.254.169.254/',
].map((host) => ours(`the text ${JSON.stringify(host)}, which is no authority`, read(`Host: ${host}`), 400))

const SEVERAL: readonly Shape[] = [
  ours('two Hosts, both the address', read('Host: 169.254.169.254', 'Host: 169.254.169.254'), 200),
  ours('two Hosts, both its own', read('Host: 169.254.169.254', 'host: instance-data'), 200),
  ours('two Hosts, the second foreign', read('Host: 169.254.169.254', 'Host: evil.example'), 403),
  ours('two Hosts, the first foreign', read('Host: evil.example', 'Host: 169.254.169.254'), 403),
  ours(
    'two Hosts, the second with a path',
    read('Host: 169.254.169.254', `Host: 169.254.169.254${LIST}#`),
    400,
  ),
  ours('a foreign name beside an empty Host', read('Host:', 'Host: evil.example'), 403),
  stricter(
    'a request for a token with a foreign name',
    lines(`PUT ${TOKEN_PATH} HTTP/1.1`, 'Host: evil.example', `${TTL}: 60`),
    403,
    200,
    'reported',
  ),
]

const ABSOLUTE: readonly Shape[] = [
  ours('an absolute target without a host', absolute(`http://${LEAF}`, 'Host: 169.254.169.254'), 403),
  ours(
    'an absolute target (clients behind a proxy)',
    absolute(`http://169.254.169.254${LEAF}`, 'Host: 169.254.169.254'),
    200,
  ),
  ours('an absolute target without Host', absolute(`http://169.254.169.254${LEAF}`), 200),
  ours(
    'an absolute target with a port',
    absolute(`http://169.254.169.254:80${LEAF}`, 'Host: 169.254.169.254:80'),
    200,
  ),
  ours(
    'an absolute target in upper case',
    absolute(`HTTP://INSTANCE-DATA${LEAF}`, 'Host: instance-data'),
    200,
  ),
  ours('an absolute target of IPv6', absolute(`http://[fd00:ec2::254]${LEAF}`, 'Host: [fd00:ec2::254]'), 200),
  ours('an absolute target without a path', absolute('http://169.254.169.254', 'Host: 169.254.169.254'), 200),
  ours(
    'an absolute target with a foreign host',
    absolute(`http://evil.example${LEAF}`, 'Host: 169.254.169.254'),
    403,
  ),
  ours('an absolute target with a foreign host, without Host', absolute(`http://evil.example${LEAF}`), 403),
  ours(
    'an absolute target beside a Host that is no authority',
    absolute(`http://169.254.169.254${LEAF}`, 'Host: 169.254.169.254#x'),
    400,
  ),
  ours(
    'an absolute target with a user',
    absolute(`http://evil@169.254.169.254${LEAF}`, 'Host: 169.254.169.254'),
    403,
  ),
]

export const HOSTS: readonly Shape[] = [
  ...NONE,
  ...OWN,
  ...LITERALS,
  ...LOOPBACK,
  ...FOREIGN,
  ...NEITHER,
  ...NO_AUTHORITY,
  ...SEVERAL,
  ...ABSOLUTE,
]
