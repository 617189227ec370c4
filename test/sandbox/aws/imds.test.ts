import assert from 'node:assert/strict'
import { request } from 'node:http'
import { connect } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts'
import { until } from '../../support/until.ts'
import { Aws, USER_DATA_CANARY } from './client.ts'
import { nodeCredentials, refusalOf, stsClient } from './support.ts'

const TTL = 'x-aws-ec2-metadata-token-ttl-seconds'
const TOKEN = 'x-aws-ec2-metadata-token'
let aws: Aws

before(async () => {
  aws = await Aws.start({ imds: ['127.0.0.1:0', '[::1]:0'] })
})
after(() => aws.stop())
beforeEach(() => aws.reset())

type Headers = Record<string, string>
type Reply = { status: number; body: string; headers: Record<string, string | string[] | undefined> }

/** Sends one request with an unchanged path (fetch would normalize it). */
function ask(
  method: string,
  path: string,
  headers: Headers = {},
  base = aws.imdsUrls[0] ?? '',
): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const outgoing = request(base, { method, path, headers }, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('end', () =>
      resolve({
        status: response.statusCode ?? 0,
        body: Buffer.concat(chunks).toString(),
        headers: response.headers,
      }),
    )
  })
  outgoing.on('error', reject)
  outgoing.end()
  return promise
}

const get = (path: string, headers: Headers = {}) => ask('GET', `/latest/${path}`, headers)
const token = async (ttl = 60) => (await ask('PUT', '/latest/api/token', { [TTL]: String(ttl) })).body

test('a token is 56 characters of base64url, different every time, and its answer has its TTL', async () => {
  const reply = await ask('PUT', '/latest/api/token', { 'X-aws-EC2-metadata-TOKEN-ttl-seconds': '21600' })
  assert.equal(reply.status, 200)
  assert.match(reply.body, /^[\w-]{54}==$/)
  assert.equal(reply.headers[TTL], '21600')
  assert.equal(reply.headers['content-type'], 'text/plain')
  assert.equal(reply.headers.server, 'EC2ws')
  assert.notEqual(reply.body, await token(21_600))
})

for (const ttl of ['0', '21601', '-1', 'abc', '', '1.5', '0x10', '99999999'])
  test(`a token with TTL "${ttl}" is refused with 400`, async () => {
    assert.equal((await ask('PUT', '/latest/api/token', { [TTL]: ttl })).status, 400)
  })

const tokenRoutes: [string, string, Headers, number, string | undefined][] = [
  ['PUT', '/latest/api/token', {}, 400, undefined],
  ['PUT', '/latest/api/token', { [TTL]: '60', 'X-Forwarded-For': '10.0.0.1' }, 403, undefined],
  ['PUT', '/latest/api/token/', { [TTL]: '60' }, 403, undefined],
  ['PUT', '/2021-03-23/api/token', { [TTL]: '60' }, 403, undefined],
  ['GET', '/latest/api/token', {}, 405, 'OPTIONS, PUT'],
  ['HEAD', '/latest/api/token', {}, 405, 'OPTIONS, PUT'],
  ['POST', '/latest/api/token', { [TTL]: '60' }, 405, 'OPTIONS, PUT'],
  ['PUT', '/latest/meta-data/', { [TTL]: '60' }, 405, 'GET, HEAD'],
  ['POST', '/latest/meta-data/', {}, 405, 'GET, HEAD'],
  ['DELETE', '/latest/meta-data/', {}, 405, 'GET, HEAD'],
]
for (const [method, path, headers, status, allow] of tokenRoutes)
  test(`${method} ${path} with ${JSON.stringify(headers)} answers ${status}`, async () => {
    const reply = await ask(method, path, headers)
    assert.equal(reply.status, status)
    assert.equal(reply.headers.allow, allow)
    if (status !== 400) assert.equal(reply.body, '')
  })

test('mode required needs a valid token for every path, and mode optional needs none but refuses an invalid one', async () => {
  const good = await token()
  const forged = good.replace(/^./, 'B').replace(/.==$/, 'A==')
  const paths = ['/', '/latest/', '/latest/meta-data/placement/region', '/latest/nothing']
  for (const path of paths) {
    assert.notEqual((await ask('GET', path)).status, 401)
    assert.equal((await ask('GET', path, { [TOKEN]: forged })).status, 401)
    assert.equal((await ask('GET', path, { [TOKEN]: '' })).status, 401)
  }
  await aws.setImds({ httpTokens: 'required' })
  for (const path of paths) {
    assert.equal((await ask('GET', path)).status, 401)
    assert.notEqual((await ask('GET', path, { [TOKEN]: good })).status, 401)
  }
  const reply = await get('meta-data/placement/region', { [TOKEN]: good })
  assert.equal(reply.body, 'eu-west-1')
  assert.match(String(reply.headers[TTL]), /^(60|59|58)$/)
})

test('a token expires after its TTL', async () => {
  const short = await token(10)
  await aws.setClockOffset(9000)
  assert.equal((await get('meta-data/', { [TOKEN]: short })).status, 200)
  await aws.setClockOffset(11_000)
  assert.equal((await get('meta-data/', { [TOKEN]: short })).status, 401)
})

test('a disabled endpoint answers everything with 403', async () => {
  await aws.setImds({ httpEndpoint: 'disabled' })
  assert.equal((await ask('PUT', '/latest/api/token', { [TTL]: '60' })).status, 403)
  assert.equal((await get('meta-data/')).status, 403)
})

test('an unknown path is 404 with the 339 bytes of EC2’s error page', async () => {
  for (const path of [
    'meta-data/nothing',
    'nothing',
    'meta-data/placement/region/x',
    'meta-data/..%2fuser-data',
  ]) {
    const { status, body, headers } = await get(path)
    assert.equal(status, 404, path)
    assert.equal(body.length, 339)
    assert.match(body, /<h1>404 - Not Found<\/h1>/)
    assert.equal(headers.server, 'EC2ws')
  }
  assert.equal((await ask('GET', '/1999-01-01/meta-data/')).status, 404)
})

const values: [string, string | RegExp][] = [
  ['meta-data/placement/region', 'eu-west-1'],
  ['meta-data/placement/availability-zone', 'eu-west-1b'],
  ['meta-data/placement/availability-zone/', 'eu-west-1b'],
  ['meta-data/placement/availability-zone-id', 'euw1-az2'],
  ['meta-data/instance-id', 'i-0abc1234567890def'],
  ['meta-data/instance-type', 'm5.large'],
  ['meta-data/ami-id', 'ami-0abcdef1234567890'],
  ['meta-data/instance-life-cycle', 'on-demand'],
  ['meta-data/local-hostname', 'ip-10-0-0-10.eu-west-1.compute.internal'],
  ['meta-data/local-ipv4', '10.0.0.10'],
  ['meta-data/mac', '02:29:96:8f:6a:2d'],
  ['meta-data/network/interfaces/macs/', '02:29:96:8f:6a:2d/'],
  ['meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/vpc-id', 'vpc-0123456789abcdef0'],
  ['meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/subnet-id/', 'subnet-0123456789abcdef0'],
  ['meta-data/services/', 'domain\npartition'],
  ['meta-data/services/domain', 'amazonaws.com'],
  ['meta-data/services/partition', 'aws'],
  ['meta-data/tags/instance', 'Name'],
  ['meta-data/tags/instance/Name', 'sandbox-node'],
  ['meta-data/placement/', 'availability-zone\navailability-zone-id\nregion'],
  ['meta-data/iam/', 'info\nsecurity-credentials/'],
  ['meta-data/iam', 'info\nsecurity-credentials/'],
  ['meta-data/iam/security-credentials/', 'node'],
  ['meta-data/iam/security-credentials', 'node'],
  ['/meta-data//iam/security-credentials/', 'node'],
  ['meta-data/identity-credentials/ec2/security-credentials/', 'ec2-instance'],
  ['meta-data/', /^ami-id\n.*\niam\/\nidentity-credentials\/\n.*\nplacement\/\n/s],
  ['dynamic/instance-identity/', 'document\npkcs7\nrsa2048\nsignature'],
  ['dynamic/instance-identity/pkcs7', /^[\w+/=\n]{1000,}$/],
  ['', 'dynamic\nmeta-data\nuser-data'],
]
for (const [path, value] of values)
  test(`/latest/${path} is served, without a last newline`, async () => {
    const { status, body, headers } = await get(path)
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'text/plain')
    if (typeof value === 'string') assert.equal(body, value)
    else assert.match(body, value)
    assert.ok(!body.endsWith('\n'))
  })

test('the root lists the versions, each of which is an alias of latest', async () => {
  assert.match((await ask('GET', '/')).body, /^1\.0\n2007-01-19\n.*\nlatest$/s)
  assert.equal((await ask('GET', '/2021-03-23/meta-data/placement/region')).body, 'eu-west-1')
  assert.equal((await ask('GET', '/latest')).body, 'dynamic\nmeta-data\nuser-data')
})

test('HEAD answers like GET, but without the body', async () => {
  const reply = await ask('HEAD', '/latest/meta-data/placement/region')
  assert.deepEqual([reply.status, reply.body, reply.headers['content-length']], [200, '', '9'])
})

test('the identity document has the fields and types that SDKs decode', async () => {
  const document = JSON.parse((await get('dynamic/instance-identity/document/')).body)
  assert.equal(document.region, 'eu-west-1')
  assert.equal(document.accountId, '111111111111')
  assert.equal(document.billingProducts, null)
  assert.ok(!Number.isNaN(Date.parse(document.pendingTime)))
})

test('the node role document has one key per line, and STS accepts its credentials', async () => {
  const { body } = await get('meta-data/iam/security-credentials/node')
  assert.match(body, /^\{\n {2}"Code" : "Success",\n {2}"LastUpdated" : "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",\n/)
  assert.match(body, /\n {2}"AccessKeyId" : "ASIA[A-Z2-7]{16}",\n/)
  const lifetime = Date.parse(JSON.parse(body).Expiration) - Date.now()
  assert.ok(Math.abs(lifetime - 6 * 3600_000) < 600_000)
  assert.equal((await get('meta-data/iam/security-credentials/other')).status, 404)
  const client = stsClient(aws, { credentials: await nodeCredentials(aws) })
  await client.send(new GetCallerIdentityCommand({}))
  const info = JSON.parse((await get('meta-data/iam/info')).body)
  assert.equal(info.InstanceProfileArn, 'arn:aws:iam::111111111111:instance-profile/node')
})

test('a node role with a path is listed by its name, and its profile ARN has the path', async () => {
  const other = await Aws.start({ nodeRoleArn: 'arn:aws:iam::111111111111:role/kops/nodes/node' })
  try {
    const base = `${other.imdsUrl}latest/meta-data/iam/`
    const text = async (path: string) => (await fetch(base + path)).text()
    assert.equal(await text('security-credentials/'), 'node')
    assert.match(await text('info'), /"arn:aws:iam::111111111111:instance-profile\/kops\/nodes\/node"/)
    const client = stsClient(other, { credentials: await nodeCredentials(other) })
    const { Arn } = await client.send(new GetCallerIdentityCommand({}))
    assert.equal(Arn, `arn:aws:sts::111111111111:assumed-role/node/${other.config.instanceId}`)
  } finally {
    await other.stop()
  }
})

test('node credentials are renewed five minutes before their end, and on demand', async () => {
  const first = await nodeCredentials(aws)
  assert.deepEqual(await nodeCredentials(aws), first)
  await aws.setClockOffset(6 * 3600_000 - 301_000)
  assert.deepEqual(await nodeCredentials(aws), first)
  await aws.setClockOffset(6 * 3600_000 - 299_000)
  const second = await nodeCredentials(aws)
  assert.notEqual(second.accessKeyId, first.accessKeyId)
  await aws.setClockOffset(0)
  const third = await aws.rotateNodeCredentials({ expireOld: true })
  assert.equal((await nodeCredentials(aws)).accessKeyId, third)
  const old = stsClient(aws, { credentials: second })
  assert.match(await refusalOf(old.send(new GetCallerIdentityCommand({}))), /^ExpiredToken/)
  await stsClient(aws, { credentials: first }).send(new GetCallerIdentityCommand({}))
})

test('lifetime, rotation, error document, profile, tags and single paths can be switched', async () => {
  await aws.setImds({ credentialLifetime: 60, credentialRotation: 'held' })
  const key = await aws.rotateNodeCredentials()
  const document = async () => JSON.parse((await get('meta-data/iam/security-credentials/node')).body)
  assert.ok(Math.abs(Date.parse((await document()).Expiration) - Date.now() - 60_000) < 30_000)
  await aws.setClockOffset(120_000)
  assert.equal((await document()).AccessKeyId, key)
  await aws.setImds({ credentialRotation: 'auto' })
  assert.notEqual((await document()).AccessKeyId, key)
  await aws.setImds({ credentialCode: 'AssumeRoleUnauthorizedAccess' })
  assert.deepEqual(Object.keys(await document()), ['Code', 'Message', 'LastUpdated'])
  assert.equal((await get('meta-data/iam/security-credentials-extended/')).status, 404)
  await aws.setImds({ credentialCode: 'Success', extendedCredentials: true })
  const extended = await get('meta-data/iam/security-credentials-extended/node')
  assert.equal(JSON.parse(extended.body).AccountId, '111111111111')
  await aws.setImds({
    instanceProfile: false,
    instanceTags: null,
    override: { 'meta-data/mac': null, 'meta-data/spot/instance-action': '{}' },
  })
  for (const path of [
    'iam/',
    'iam/security-credentials/',
    'iam/security-credentials/node',
    'tags/instance',
    'mac',
  ])
    assert.equal((await get(`meta-data/${path}`)).status, 404, path)
  assert.equal((await get('meta-data/spot/')).body, 'instance-action')
  await assert.rejects(aws.setImds({ httpToken: 'required' } as object), /there is no setting "httpToken"/)
})

test('the data that must never reach a pod are served, so that a leak would show', async () => {
  const userData = await get('user-data')
  assert.ok(userData.body.includes(USER_DATA_CANARY))
  assert.equal(userData.headers['content-type'], 'application/octet-stream')
  const own = JSON.parse(
    (await get('meta-data/identity-credentials/ec2/security-credentials/ec2-instance')).body,
  )
  const credentials = {
    accessKeyId: own.AccessKeyId,
    secretAccessKey: own.SecretAccessKey,
    sessionToken: own.Token,
  }
  const { Arn } = await stsClient(aws, { credentials }).send(new GetCallerIdentityCommand({}))
  assert.match(Arn ?? '', /:assumed-role\/aws:ec2-instance\/i-/)
})

test('every request is recorded, and every connection, even one without a request', async () => {
  const good = await token()
  await get('meta-data/mac', { [TOKEN]: good, 'user-agent': 'probe/1' })
  await ask('GET', '/latest/nothing?x=1', {}, aws.imdsUrls[1])
  const [, mac, nothing] = await aws.imdsRequests()
  assert.deepEqual(
    [mac?.peer, mac?.method, mac?.path, mac?.status, mac?.token, mac?.userAgent],
    ['127.0.0.1', 'GET', '/latest/meta-data/mac', 200, 'valid', 'probe/1'],
  )
  assert.deepEqual(
    [nothing?.peer, nothing?.local, nothing?.path, nothing?.status],
    ['::1', '::1', '/latest/nothing', 404],
  )
  assert.equal((await aws.imdsRequests({ path: '/latest/meta-data/mac', status: 200 })).length, 1)
  await aws.clearRecords()
  assert.deepEqual(await aws.imdsRequests(), [])
  const { port } = new URL(aws.imdsUrl)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = connect(Number(port), '127.0.0.1', resolve)
  socket.on('error', reject)
  await promise
  await until('the connection is seen', async () => Object.keys(await aws.imdsConnections()).length > 0)
  assert.deepEqual(await aws.imdsConnections(), { '127.0.0.1': 1 })
  socket.destroy()
})
