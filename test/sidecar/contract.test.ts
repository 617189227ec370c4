/** The EC2 metadata contract over real sockets, on the built bundle. */
import { after, before, describe } from 'node:test'
import { SHAPES } from './shapes/index.ts'
import {
  loopbackEnv,
  METADATA,
  openWorkshop,
  ROLE_ARN,
  type Row,
  type SidecarProcess,
  startBroker,
  startProcess,
  type TestBroker,
  TOKEN,
  testRows,
  testShapes,
  type Workshop,
} from './support/index.ts'

const CREDS = '/latest/meta-data/iam/security-credentials'
const EXTENDED = '/latest/meta-data/iam/security-credentials-extended'
const TOKEN_PATH = '/latest/api/token'
const TTL = 'X-aws-ec2-metadata-token-ttl-seconds'
const PAGE_404 = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t\t "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>404 - Not Found</title>
 </head>
 <body>
  <h1>404 - Not Found</h1>
 </body>
</html>
`
const PLAIN = { 'content-type': 'text/plain' }
const DOCUMENT =
  /^\{\n {2}"Code" : "Success",\n {2}"LastUpdated" : "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",\n {2}"Type" : "AWS-HMAC",\n {2}"AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",\n {2}"SecretAccessKey" : "wJalrXUtnFEMI\/K7MDENG\/bPxRfiCYEXAMPLEKEY",\n {2}"Token" : "IQoJb3JpZ2luX2VjEXAMPLE==",\n {2}"Expiration" : "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"\n\}$/

const put = (headers: Record<string, string>, path = TOKEN_PATH) => ({ method: 'PUT', path, headers })

const TOKEN_ROWS: Row[] = [
  [
    'PUT of a token gives 56 URL-safe characters, padded, without a newline',
    put({ [TTL]: '21600' }),
    { status: 200, body: /^[A-Za-z0-9_-]{54}==$/, headers: { ...PLAIN, 'content-length': '56' } },
  ],
  [
    'PUT of a token echoes the lifetime',
    put({ [TTL]: '300' }),
    { status: 200, headers: { [TTL.toLowerCase()]: '300' } },
  ],
  [
    'PUT of a token accepts the shortest lifetime, 1 s',
    put({ [TTL]: '1' }),
    { status: 200, headers: { [TTL.toLowerCase()]: '1' } },
  ],
  ['the header name may be in lower case (botocore)', put({ [TTL.toLowerCase()]: '60' }), { status: 200 }],
  [
    'the header name may be canonical (Go)',
    put({ 'X-Aws-Ec2-Metadata-Token-Ttl-Seconds': '60' }),
    { status: 200 },
  ],
  [
    'PUT with Content-Length 0 is served (JS, botocore, Go)',
    { ...put({ [TTL]: '60' }), body: '' },
    { status: 200 },
  ],
  [
    'PUT with a form content type is served (Ruby)',
    { ...put({ [TTL]: '60', 'Content-Type': 'application/x-www-form-urlencoded' }), body: '' },
    { status: 200 },
  ],
  [
    'PUT with a small body is served, and the body is ignored',
    { ...put({ [TTL]: '60' }), body: 'x=1' },
    { status: 200 },
  ],
  [
    'PUT through a doubled slash is served (Java)',
    put({ [TTL]: '60' }, '//latest/api/token'),
    { status: 200 },
  ],
  ['PUT without a lifetime is 400', put({}), { status: 400, body: /400 - Bad Request/ }],
  ['PUT with lifetime 0 is 400', put({ [TTL]: '0' }), { status: 400 }],
  ['PUT with lifetime 21601 is 400', put({ [TTL]: '21601' }), { status: 400 }],
  ['PUT with a negative lifetime is 400', put({ [TTL]: '-1' }), { status: 400 }],
  ['PUT with a lifetime that is not a number is 400', put({ [TTL]: 'abc' }), { status: 400 }],
  ['PUT with an empty lifetime is 400', put({ [TTL]: '' }), { status: 400 }],
  ['PUT with a fraction is 400', put({ [TTL]: '1.5' }), { status: 400 }],
  ['PUT with a hexadecimal lifetime is 400', put({ [TTL]: '0x10' }), { status: 400 }],
  ['PUT with a list of lifetimes is 400', put({ [TTL]: '60, 60' }), { status: 400 }],
  ['PUT with a huge lifetime is 400', put({ [TTL]: '9'.repeat(40) }), { status: 400 }],
  [
    'PUT with X-Forwarded-For is 403 and empty',
    put({ [TTL]: '60', 'X-Forwarded-For': '10.0.0.1' }),
    { status: 403, body: '' },
  ],
  [
    'PUT with an empty X-Forwarded-For is 403 too',
    put({ [TTL]: '60', 'X-Forwarded-For': '' }),
    { status: 403, body: '' },
  ],
  [
    'PUT with a trailing slash is 403 and empty',
    put({ [TTL]: '60' }, '/latest/api/token/'),
    { status: 403, body: '', headers: PLAIN },
  ],
  ['PUT on a dated version is 403', put({ [TTL]: '60' }, '/2021-03-23/api/token'), { status: 403, body: '' }],
  ['PUT on an unknown version is 405', put({ [TTL]: '60' }, '/newest/api/token'), { status: 405 }],
  [
    'GET on the token path is 405 with the allowed methods',
    { path: TOKEN_PATH },
    { status: 405, body: '', headers: { allow: 'OPTIONS, PUT', ...PLAIN } },
  ],
  [
    'HEAD on the token path is 405',
    { method: 'HEAD', path: TOKEN_PATH },
    { status: 405, headers: { allow: 'OPTIONS, PUT' } },
  ],
  [
    'POST on the token path is 405',
    { method: 'POST', path: TOKEN_PATH, body: '' },
    { status: 405, headers: { allow: 'OPTIONS, PUT' } },
  ],
  ['DELETE on the token path is 405', { method: 'DELETE', path: TOKEN_PATH }, { status: 405 }],
  [
    'OPTIONS on the token path has the allowed methods and allows no other origin',
    { method: 'OPTIONS', path: TOKEN_PATH, headers: { Origin: 'http://evil.example' } },
    { status: 200, headers: { allow: 'OPTIONS, PUT', 'access-control-allow-origin': undefined } },
  ],
]

const get = (path: string, headers: Record<string, string> = {}) => ({ path, headers })
const T = 'X-aws-ec2-metadata-token'

const SESSION_ROWS: Row[] = [
  ['a valid token opens a document', get(`${CREDS}/reader`, { [T]: TOKEN }), { status: 200, body: DOCUMENT }],
  [
    'an answer to a request with a token has the remaining lifetime',
    get('/', { [T]: TOKEN }),
    { status: 200, headers: { [TTL.toLowerCase()]: /^21(600|59\d)$/ } },
  ],
  ['the token header may be in lower case', get('/', { [T.toLowerCase()]: TOKEN }), { status: 200 }],
  [
    'a forged token is 401',
    get('/', { [T]: `${'A'.repeat(54)}==` }),
    { status: 401, body: /401 - Unauthorized/, headers: { 'content-type': 'text/html' } },
  ],
  ['a token in another format is 401', get('/', { [T]: 'garbage' }), { status: 401 }],
  ['a token with something added is 401', get('/', { [T]: `${TOKEN}A` }), { status: 401 }],
  ['two tokens are 401', get('/', { [T]: `${TOKEN}, ${TOKEN}` }), { status: 401 }],
  ['an empty token is 401', get('/', { [T]: '' }), { status: 401 }],
  ['a forged token is 401 also on an unknown path', get('/latest/nothing', { [T]: 'x' }), { status: 401 }],
  ['a forged token is 401 for HEAD', { method: 'HEAD', path: '/', headers: { [T]: 'x' } }, { status: 401 }],
]

const OPTIONAL_ROWS: Row[] = [
  ['a document is served without a token (IMDSv1)', get(`${CREDS}/reader`), { status: 200, body: DOCUMENT }],
  [
    'an answer to a request without a token has no lifetime',
    get('/'),
    { status: 200, headers: { [TTL.toLowerCase()]: undefined } },
  ],
]

const REQUIRED_ROWS: Row[] = [
  ...[
    '/',
    '/latest',
    '/latest/',
    '/latest/meta-data/',
    `${CREDS}/`,
    `${CREDS}/reader`,
    '/latest/nothing',
    '/nonsense',
    '/%zz',
  ].map(
    (path): Row => [`${path} without a token is 401`, get(path), { status: 401, body: /401 - Unauthorized/ }],
  ),
  ['HEAD without a token is 401', { method: 'HEAD', path: '/' }, { status: 401 }],
  ['the token path itself needs no token', put({ [TTL]: '60' }), { status: 200 }],
  ['a wrong method is 405 also without a token', { method: 'POST', path: '/', body: '' }, { status: 405 }],
]

const ROLE_ROWS: Row[] = [
  [
    'the role list with a slash has only the role',
    get(`${CREDS}/`),
    { status: 200, body: 'team/reader', headers: PLAIN },
  ],
  [
    'the role list without a slash is the same, not a redirect (C++, .NET)',
    get(CREDS),
    { status: 200, body: 'team/reader' },
  ],
  ['the role list with two slashes is the same', get(`${CREDS}//`), { status: 200, body: 'team/reader' }],
  [
    'the role list has EC2’s headers',
    get(`${CREDS}/`),
    { status: 200, headers: { 'accept-ranges': 'none', 'content-length': '11' } },
  ],
  ...(
    [
      ['name', 'reader'],
      ['name with a trailing slash', 'reader/'],
      ['path and name', 'team/reader'],
      ['path and name with a leading slash', '/team/reader'],
      ['path and name with a trailing slash', 'team/reader/'],
      ['encoded path and name', 'team%2Freader'],
      ['path and name encoded in lower case', 'team%2freader'],
      ['ARN', ROLE_ARN],
      ['ARN with a trailing slash', `${ROLE_ARN}/`],
      ['wholly encoded ARN', encodeURIComponent(ROLE_ARN)],
      ['partly encoded ARN', ROLE_ARN.replaceAll(':', '%3A')],
      ['name with an encoded letter', 're%61der'],
    ] as const
  ).map(
    ([what, text]): Row => [
      `the document is served for the role’s ${what}`,
      get(`${CREDS}/${text}`),
      { status: 200, body: DOCUMENT, headers: PLAIN },
    ],
  ),
  ...(
    [
      ['another name', 'admin'],
      ['the name in other case', 'Reader'],
      ['a prefix of the name', 'read'],
      ['another path', 'other/reader'],
      ['an ARN of another account', ROLE_ARN.replace('111111111111', '222222222222')],
      ['an ARN of another partition', ROLE_ARN.replace('arn:aws:', 'arn:aws-cn:')],
      ['a doubly encoded path', 'team%252Freader'],
      ['something below the role', 'team/reader/x'],
      ['a parent directory', '..%2Freader'],
      ['an encoded newline after the name', 'reader%0A'],
      ['a NUL byte after the name', 'reader%00'],
      ['a broken escape', 'reader%'],
      ['an escape that is not UTF-8', 'reader%FF'],
      ['a glob', '*'],
      ['the name of an Object member', '__proto__'],
    ] as const
  ).map(
    ([what, text]): Row => [
      `the document for ${what} is 404`,
      get(`${CREDS}/${text}`),
      { status: 404, body: PAGE_404 },
    ],
  ),
  [
    'the document may be requested without the list (AWS_EC2_INSTANCE_PROFILE_NAME)',
    get(`${CREDS}/reader`),
    { status: 200, headers: { 'last-modified': /GMT$/ } },
  ],
  [
    'the document through doubled slashes is served (Java)',
    get(`//latest//meta-data/iam//security-credentials//reader`),
    { status: 200, body: DOCUMENT },
  ],
  ['a query is ignored', get(`${CREDS}/reader?x=/../..`), { status: 200, body: DOCUMENT }],
  ['the extended list has only the role', get(`${EXTENDED}/`), { status: 200, body: 'team/reader' }],
  ['the extended list is served without a slash', get(EXTENDED), { status: 200, body: 'team/reader' }],
  [
    'the extended document adds the account id',
    get(`${EXTENDED}/reader`),
    { status: 200, body: /"Code" : "Success"[\s\S]*"AccountId" : "111111111111"\n\}$/ },
  ],
  ['the extended document of another role is 404', get(`${EXTENDED}/admin`), { status: 404 }],
  [
    'iam/ lists its content',
    get('/latest/meta-data/iam/'),
    { status: 200, body: 'info\nsecurity-credentials/' },
  ],
  [
    'iam without a slash has the same list',
    get('/latest/meta-data/iam'),
    { status: 200, body: 'info\nsecurity-credentials/' },
  ],
  [
    'iam/info names the role as the profile, never the node’s',
    get('/latest/meta-data/iam/info'),
    {
      status: 200,
      body: /"InstanceProfileArn" : "arn:aws:iam::111111111111:instance-profile\/team\/reader",\n {2}"InstanceProfileId" : "AIPA[A-Z2-7]{17}"/,
    },
  ],
  ['iam/other is 404', get('/latest/meta-data/iam/other'), { status: 404 }],
  [
    'the node’s identity credentials do not exist',
    get('/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance'),
    { status: 404 },
  ],
]

const HEAD_ROWS: Row[] = [
  [
    'HEAD of the role list has its length and no body',
    { method: 'HEAD', path: `${CREDS}/` },
    { status: 200, body: '', headers: { 'content-length': '11', ...PLAIN } },
  ],
  [
    'HEAD of the document has its type',
    { method: 'HEAD', path: `${CREDS}/reader` },
    { status: 200, headers: PLAIN },
  ],
  [
    'HEAD of an unknown path is 404 with the page’s length',
    { method: 'HEAD', path: '/x' },
    { status: 404, headers: { 'content-length': '339' } },
  ],
]

const TREE_ROWS: Row[] = [
  [
    'the root lists the versions, latest last',
    get('/'),
    { status: 200, body: /^1\.0\n2007-01-19\n[\s\S]*2016-04-19\n[\s\S]*\nlatest$/ },
  ],
  ['/latest lists its content', get('/latest'), { status: 200, body: 'dynamic\nmeta-data' }],
  ['/latest/ lists the same', get('/latest/'), { status: 200, body: 'dynamic\nmeta-data' }],
  [
    'meta-data/ lists leaves and directories in order',
    get('/latest/meta-data/'),
    {
      status: 200,
      body: 'iam/\ninstance-id\ninstance-type\nlocal-ipv4\nmac\nnetwork/\nplacement/\nservices/',
    },
  ],
  [
    'meta-data without a slash has the same list',
    get('/latest/meta-data'),
    { status: 200, body: /^iam\/\n/ },
  ],
  [
    'placement/ lists its leaves',
    get('/latest/meta-data/placement/'),
    { status: 200, body: 'availability-zone\navailability-zone-id\nregion' },
  ],
  [
    'a directory lists its directories with slashes',
    get('/latest/meta-data/network/interfaces/'),
    { status: 200, body: 'macs/' },
  ],
  [
    'a list may have directories named after an address',
    get('/latest/meta-data/network/interfaces/macs/'),
    { status: 200, body: '0e:00:00:00:00:01/' },
  ],
  [
    'a leaf has no newline',
    get('/latest/meta-data/placement/region'),
    { status: 200, body: 'eu-west-1', headers: PLAIN },
  ],
  [
    'a leaf is served with a trailing slash (botocore’s zone)',
    get('/latest/meta-data/placement/availability-zone/'),
    { status: 200, body: 'eu-west-1b' },
  ],
  [
    'the identity document is served',
    get('/latest/dynamic/instance-identity/document'),
    { status: 200, body: METADATA['dynamic/instance-identity/document'], headers: PLAIN },
  ],
  [
    'the identity document is served with a trailing slash (Datadog)',
    get('/latest/dynamic/instance-identity/document/'),
    { status: 200, body: /eu-west-1/ },
  ],
  ['dynamic/ lists its content', get('/latest/dynamic/'), { status: 200, body: 'instance-identity/' }],
  [
    'a dated version is an alias (cloud-init)',
    get('/2009-04-04/meta-data/instance-id'),
    { status: 200, body: 'i-0123456789abcdef0' },
  ],
  ['version 1.0 is an alias', get('/1.0/meta-data/placement/region'), { status: 200, body: 'eu-west-1' }],
  [
    'credentials are served under a dated version',
    get('/2021-03-23/meta-data/iam/security-credentials/reader'),
    { status: 200, body: DOCUMENT },
  ],
  ['an unknown version is 404', get('/2000-01-01/meta-data/'), { status: 404, body: PAGE_404 }],
  [
    'an unknown leaf is 404 with EC2’s 339 bytes',
    get('/latest/meta-data/nothing'),
    { status: 404, body: PAGE_404, headers: { 'content-length': '339', 'content-type': 'text/html' } },
  ],
  ['an unknown directory is 404', get('/latest/meta-data/nothing/'), { status: 404 }],
  ['something below a leaf is 404', get('/latest/meta-data/instance-id/x'), { status: 404 }],
  ['user-data does not exist', get('/latest/user-data'), { status: 404 }],
  ['user-data/ does not exist', get('/latest/user-data/'), { status: 404 }],
  ...['pkcs7', 'signature', 'rsa2048'].map(
    (leaf): Row => [
      `the node’s ${leaf} does not exist`,
      get(`/latest/dynamic/instance-identity/${leaf}`),
      { status: 404 },
    ],
  ),
  ['a path with dots is not resolved', get('/latest/meta-data/placement/../instance-id'), { status: 404 }],
  ['a path in upper case is 404', get('/LATEST/META-DATA/'), { status: 404 }],
  [
    'an encoded slash is a slash',
    get('/latest%2Fmeta-data%2Fplacement/region'),
    { status: 200, body: 'eu-west-1' },
  ],
  ['a name of Object.prototype is 404', get('/latest/meta-data/constructor'), { status: 404 }],
  ['/latest/api/ is 404', get('/latest/api/'), { status: 404 }],
]

const HTTP_ROWS: Row[] = [
  ...['POST', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND'].map(
    (method): Row => [
      `${method} on metadata is 405`,
      { method, path: `${CREDS}/reader` },
      { status: 405, body: '', headers: { allow: 'GET, HEAD' } },
    ],
  ),
  ['PUT on metadata is 405', { method: 'PUT', path: `${CREDS}/reader`, body: 'x' }, { status: 405 }],
  ['the IPv6 metadata address is allowed as Host', { host: '[fd00:ec2::254]' }, { status: 200 }],
  [
    'another spelling of the IPv6 address is allowed as Host',
    { host: '[FD00:EC2:0:0::254]' },
    { status: 200 },
  ],
  ['a Host with a port is allowed', { host: '169.254.169.254:80' }, { status: 200 }],
  ['loopback with a port is allowed as Host', { host: '127.0.0.1:9169' }, { status: 200 }],
  ['IPv6 loopback is allowed as Host', { host: '[::1]:9169' }, { status: 200 }],
  ['localhost is allowed as Host', { host: 'LocalHost:9169' }, { status: 200 }],
  [
    'another name as Host is 403 (DNS rebinding)',
    { host: 'evil.example' },
    { status: 403, body: /403 - Forbidden/ },
  ],
  [
    'a name that starts like the address is 403 as Host',
    { host: '169.254.169.254.evil.example' },
    { status: 403 },
  ],
  ['0.0.0.0 as Host is 403', { host: '0.0.0.0' }, { status: 403 }],
  ['user information in Host is 400', { host: 'evil@169.254.169.254' }, { status: 400 }],
  ['a fragment in Host is 400', { host: '169.254.169.254#x' }, { status: 400, body: '' }],
  ['an empty Host counts as none', { host: '' }, { status: 200 }],
  ['a bad Host is 403 also for a token', { ...put({ [TTL]: '60' }), host: 'evil.example' }, { status: 403 }],
  ['a second Host is refused', { headers: { host: 'evil.example' } }, { status: 403 }],
  [
    'an absolute target is served (RFC 9112)',
    { path: `http://169.254.169.254${CREDS}/reader` },
    { status: 200, body: DOCUMENT },
  ],
  [
    'an absolute target without a path is the root',
    { path: 'http://169.254.169.254' },
    { status: 200, body: /latest$/ },
  ],
  [
    'an absolute target with another host is 403, whatever Host says',
    { path: 'http://evil.example/' },
    { status: 403 },
  ],
  ['HTTP/1.1 without Host is served (aws-c-auth)', { host: null }, { status: 200 }],
  [
    'HTTP/1.0 without Host is served',
    { version: '1.0', host: null, path: `${CREDS}/` },
    { status: 200, body: 'team/reader' },
  ],
  ['HTTP/1.0 with Host is served', { version: '1.0' }, { status: 200 }],
  ['a path of 4096 characters is not too long', get(`/${'a'.repeat(4095)}`), { status: 404 }],
  ['a longer path is 414', get(`/${'a'.repeat(4096)}`), { status: 414 }],
  [
    'more than a hundred header lines are 431',
    get('/', Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`X-${index}`, '']))),
    { status: 431 },
  ],
  ['headers over 8 KiB are 431', get('/', { 'X-Long': 'a'.repeat(8200) }), { status: 431 }],
  [
    'an announced body over 4 KiB is 413',
    { method: 'PUT', path: TOKEN_PATH, headers: { [TTL]: '60', 'Content-Length': '5000' } },
    { status: 413 },
  ],
  ['GET with a body is served', { ...get(`${CREDS}/reader`), body: 'x' }, { status: 200, body: DOCUMENT }],
  ['an invalid header is 400', get('/', { 'X Y': '1' }), { status: 400 }],
  [
    'Upgrade is ignored',
    get('/', { Upgrade: 'h2c', Connection: 'Upgrade, HTTP2-Settings, close' }),
    { status: 200 },
  ],
  ['Range is ignored', get(`${CREDS}/reader`, { Range: 'bytes=0-3' }), { status: 200, body: DOCUMENT }],
  [
    'a conditional header is ignored',
    get('/', { 'If-Modified-Since': new Date().toUTCString() }),
    { status: 200 },
  ],
  [
    'gzip is not used although the client accepts it (Go)',
    get(`${CREDS}/reader`, { 'Accept-Encoding': 'gzip' }),
    { status: 200, body: DOCUMENT, headers: { 'content-encoding': undefined } },
  ],
  ['CONNECT is 405', { method: 'CONNECT', path: '169.254.169.254:80' }, { status: 405 }],
  [
    'the version probe of old HashiCorp tools recognises EC2',
    get('/latest'),
    { status: 200, headers: { server: 'EC2ws' } },
  ],
]

describe('the metadata contract', () => {
  let workshop: Workshop
  let broker: TestBroker
  const running: SidecarProcess[] = []
  let optional: SidecarProcess
  let required: SidecarProcess

  before(async () => {
    workshop = await openWorkshop()
    broker = await startBroker()
    const env = (tokens: string) => ({ ...loopbackEnv(workshop, broker.url), POD2IAM_IMDS_TOKENS: tokens })
    for (const tokens of ['optional', 'required'])
      running.push(await startProcess(workshop, env(tokens), { ready: true }))
    ;[optional, required] = running as [SidecarProcess, SidecarProcess]
  })
  after(async () => {
    await Promise.all(running.map(({ end }) => end()))
    await broker?.close()
    workshop?.remove()
  })

  describe('for tokens', () => testRows(() => optional.port, TOKEN_ROWS))
  describe('for sessions, with IMDSv1 allowed', () =>
    testRows(() => optional.port, [...SESSION_ROWS, ...OPTIONAL_ROWS]))
  describe('for sessions, with tokens required', () =>
    testRows(() => required.port, [...SESSION_ROWS, ...REQUIRED_ROWS]))
  describe('for roles', () => testRows(() => optional.port, ROLE_ROWS))
  describe('for HEAD', () => testRows(() => optional.port, HEAD_ROWS))
  describe('for the tree', () => testRows(() => optional.port, TREE_ROWS))
  describe('for HTTP', () => testRows(() => optional.port, HTTP_ROWS))
  for (const [what, shapes] of Object.entries(SHAPES))
    describe(what, () => testShapes(() => optional.port, shapes))
})
