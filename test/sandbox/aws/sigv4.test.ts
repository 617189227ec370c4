import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFreshness, checkScope } from './scope.ts'
import { checkSignature, parseSignature, parseTime, type WireRequest } from './sigv4.ts'

// From AWS's published Signature Version 4 test suite and the IAM User Guide's worked example.
const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
const HOST = ['Host', 'example.amazonaws.com'] as const
const DATE = ['X-Amz-Date', '20150830T123600Z'] as const
const FORM = 'application/x-www-form-urlencoded'

type Vector = Partial<Omit<WireRequest, 'body'>> & {
  signed: string
  hex: string
  body?: string
  service?: string
}

const vectors: Record<string, Vector> = {
  'get-vanilla': {
    headers: [HOST, DATE],
    signed: 'host;x-amz-date',
    hex: '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  },
  'get-vanilla-query-order-key-case': {
    query: 'Param2=value2&Param1=value1',
    headers: [HOST, DATE],
    signed: 'host;x-amz-date',
    hex: 'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
  },
  'get-header-value-trim': {
    headers: [HOST, ['My-Header1', ' value1'], ['My-Header2', ' "a   b   c"'], DATE],
    signed: 'host;my-header1;my-header2;x-amz-date',
    hex: 'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
  },
  'post-x-www-form-urlencoded': {
    method: 'POST',
    headers: [['Content-Type', FORM], HOST, DATE],
    body: 'Param1=value1',
    signed: 'content-type;host;x-amz-date',
    hex: 'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
  },
  'IAM User Guide, ListUsers': {
    query: 'Action=ListUsers&Version=2010-05-08',
    headers: [['content-type', `${FORM}; charset=utf-8`], ['host', 'iam.amazonaws.com'], DATE],
    signed: 'content-type;host;x-amz-date',
    hex: '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
    service: 'iam',
  },
}

function wire({ signed, hex, service = 'service', body = '', headers = [], ...rest }: Vector): WireRequest {
  const scope = `AKIDEXAMPLE/20150830/us-east-1/${service}/aws4_request`
  const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=${signed}, Signature=${hex}`
  return {
    method: 'GET',
    path: '/',
    query: '',
    ...rest,
    headers: [...headers, ['Authorization', authorization]],
    body: Buffer.from(body),
  }
}

function refusal(action: () => void): string {
  try {
    action()
  } catch (error) {
    return error instanceof Error && 'code' in error ? `${error.code}: ${error.message}` : String(error)
  }
  return 'accepted'
}

const verify = (request: WireRequest, secret = SECRET) =>
  refusal(() => checkSignature(request, parseSignature(request), secret))

for (const [name, vector] of Object.entries(vectors)) {
  test(`the published vector ${name} verifies, and no variation of it does`, () => {
    const request = wire(vector)
    assert.equal(verify(request), 'accepted')
    const flipped = vector.hex.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))
    for (const near of [
      wire({ ...vector, hex: flipped }),
      wire({ ...vector, hex: vector.hex.slice(2) }),
      { ...request, method: 'PUT' },
      { ...request, path: '/x' },
      { ...request, query: `${request.query}&a=b` },
      { ...request, body: Buffer.from(`${vector.body ?? ''}x`) },
      { ...request, headers: request.headers.map(([k, v]) => [k, k === HOST[0] ? 'evil' : v] as const) },
    ])
      if (JSON.stringify(near) !== JSON.stringify(request))
        assert.match(verify(near), /^SignatureDoesNotMatch: The request signature we calculated/)
    assert.match(verify(request, `${SECRET}x`), /^SignatureDoesNotMatch/)
  })
}

test('an x-amz header that is not signed is refused, so that nobody can add one in transit', () => {
  const request = wire(vectors['get-vanilla'] ?? assert.fail())
  assert.equal(verify(request), 'accepted')
  const added = ['X-Amz-Security-Token', 't'] as const
  assert.match(
    verify({ ...request, headers: [...request.headers, added] }),
    /'x-amz-security-token' must be a 'SignedHeader'/,
  )
})

test('a signature that does not cover the host, or names a missing header, is refused', () => {
  const base = { headers: [HOST, DATE], hex: '00' }
  assert.match(
    verify(wire({ ...base, signed: 'x-amz-date' })),
    /'Host' or ':authority' must be a 'SignedHeader'/,
  )
  assert.match(verify(wire({ ...base, signed: 'host;x-amz-date;x-gone' })), /'x-gone' is not in the request/)
})

test('the refusal of an Authorization header names what is missing, with the texts of AWS', () => {
  const at = (authorization: string | undefined, headers: WireRequest['headers'] = [HOST, DATE]) =>
    refusal(() =>
      parseSignature({
        ...wire({ signed: '', hex: '' }),
        headers: authorization === undefined ? headers : [...headers, ['authorization', authorization]],
      }),
    )
  assert.equal(at(undefined), 'MissingAuthenticationToken: Request is missing Authentication Token')
  assert.match(at('Bearer x'), /^IncompleteSignature: Unsupported AWS 'algorithm': 'Bearer'/)
  assert.match(at('AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request'), /requires 'Signature' parameter/)
  const whole = 'AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00'
  assert.match(at(whole, [HOST]), /either a 'X-Amz-Date' or a 'Date' header/)
  assert.match(at(whole, [HOST, ['x-amz-date', '2015-08-30']]), /ISO-8601 'basic format'/)
  assert.match(at(whole.replace('aws4_request', 'aws3_request')), /5 slash-delimited elements/)
})

test('a signature is accepted only for STS, for the region and on the day that it names', () => {
  const signature = {
    ...parseSignature(wire({ headers: [HOST, DATE], signed: 'host', hex: '00' })),
    service: 'sts',
  }
  const scope = (change: object) => refusal(() => checkScope({ ...signature, ...change }, ['us-east-1']))
  assert.equal(scope({}), 'accepted')
  assert.match(scope({ service: 'ec2' }), /correct service: 'sts'/)
  assert.match(scope({ region: 'eu-west-1' }), /valid region, not 'eu-west-1'/)
  assert.match(scope({ date: '20150829' }), /'20150829' != '20150830', from '20150830T123600Z'/)
})

test('a signature is valid for five minutes before and after the clock, and a presigned one for its own time', () => {
  const signature = parseSignature(wire({ headers: [HOST, DATE], signed: 'host', hex: '00' }))
  const signed = parseTime('20150830T123600Z')
  const after = (minutes: number, expires?: number) =>
    refusal(() => checkFreshness({ ...signature, expires }, signed + minutes * 60_000, 5))
  assert.equal(after(5), 'accepted')
  assert.equal(after(-5), 'accepted')
  assert.equal(
    after(6),
    'SignatureDoesNotMatch: Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z (20150830T124200Z - 5 min.)',
  )
  assert.match(after(-6), /Signature not yet current: 20150830T123600Z is still later than 20150830T123500Z/)
  assert.equal(after(9, 600), 'accepted')
  assert.equal(after(11, 600), 'RequestExpired: Request has expired.')
  assert.equal(after(16, 3600), 'RequestExpired: Request has expired.')
})
