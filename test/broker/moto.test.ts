/** An STS not written by us that checks signatures and policies (moto with authentication): it accepts only our own calls. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { needsPeer, peer } from '../peers/peers.ts'
import { freePort } from '../support/free-port.ts'
import { eventually } from '../support/until.ts'
import { World } from './world.ts'

const ACCOUNT = '123456789012'
const REGION = 'eu-west-1'
const EXTERNAL_ID = 'a:b/c=d+e'

describe('moto with authentication', () => {
  const needed = needsPeer('moto_server')
  let world: World
  let moto: ChildProcess
  let url: string
  let proxy: Server
  let made = 0
  /** Changes a request's body between the broker and STS. */
  let tamper = (body: string) => body

  before(async () => {
    if (needed.skip) return
    const port = await freePort()
    moto = spawn(peer('moto_server') ?? '', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
    url = `http://127.0.0.1:${port}`
    await eventually('moto', async () => (await fetch(`${url}/moto-api/`)).ok, { deadlineMs: 120_000 })
    world = await World.start()
    await world.namespace('shop')
    proxy = await tamperingProxy(port, (body) => tamper(body))
    Object.assign(process.env, await user())
    process.env.AWS_ENDPOINT_URL_STS = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    await authenticate()
    await world.broker(
      ...['--session-tags', '--cluster-name=prod', '--extra-session-tags=team=platform'],
      '--source-identity={namespace}.{service-account}',
    )
  })
  after(async () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) delete process.env[name]
    proxy?.close()
    await world?.stop()
    if (moto?.kill('SIGKILL')) await once(moto, 'close')
  })

  /** Creates a user who may assume one role, before moto's authentication is on. Returns the user's environment. */
  async function user(): Promise<Record<string, string>> {
    const allow = (Resource: string) =>
      JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: ['sts:AssumeRole', 'sts:TagSession'], Resource },
          { Effect: 'Allow', Action: 'sts:GetCallerIdentity', Resource: '*' },
        ],
      })
    const trust = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Principal: { AWS: `arn:aws:iam::${ACCOUNT}:user/node` },
          Action: ['sts:AssumeRole', 'sts:TagSession'],
          Condition: { StringEquals: { 'sts:ExternalId': EXTERNAL_ID } },
        },
      ],
    })
    for (const RoleName of ['app', 'other'])
      await iam({ Action: 'CreateRole', RoleName, AssumeRolePolicyDocument: trust })
    await iam({ Action: 'CreateUser', UserName: 'node' })
    await iam({
      Action: 'PutUserPolicy',
      UserName: 'node',
      PolicyName: 'assume',
      PolicyDocument: allow(`arn:aws:iam::${ACCOUNT}:role/app`),
    })
    const keys = await iam({ Action: 'CreateAccessKey', UserName: 'node' })
    const part = (name: string) => new RegExp(`<${name}>([^<]+)<`).exec(keys)?.[1] ?? ''
    return { AWS_ACCESS_KEY_ID: part('AccessKeyId'), AWS_SECRET_ACCESS_KEY: part('SecretAccessKey') }
  }

  async function iam(parameters: Record<string, string>): Promise<string> {
    const scope = `Credential=x/20260101/${REGION}/iam/aws4_request, SignedHeaders=host, Signature=x`
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `AWS4-HMAC-SHA256 ${scope}` },
      body: new URLSearchParams({ ...parameters, Version: '2010-05-08' }),
    })
    const text = await response.text()
    assert.ok(response.ok, text)
    return text
  }

  async function authenticate(): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream' }
    const response = await fetch(`${url}/moto-api/reset-auth`, { method: 'POST', headers, body: '0' })
    assert.ok(response.ok, await response.text())
  }

  const pod = (role: string, annotations: Record<string, string> = {}) =>
    world.pod('shop', `pod-${made++}`, {
      role,
      annotations: { [KEYS.externalId]: EXTERNAL_ID, ...annotations },
    })

  test(
    'a pod gets a session of its role, with external id, tags, session name, source identity and session policies signed',
    needed,
    async () => {
      const bodies: string[] = []
      tamper = (body) => {
        bodies.push(body)
        return body
      }
      const policy = 'arn:aws:iam::aws:policy/ReadOnlyAccess'
      const one = await pod('app', {
        [KEYS.sessionName]: 'mine',
        [KEYS.sessionPolicyArns]: JSON.stringify([policy]),
      })
      const { status, body } = await world.ask(one)
      assert.deepEqual([status, body.Role, body.AccountId], [200, 'app', ACCOUNT], body.detail)
      assert.match(body.AccessKeyId ?? '', /^ASIA/)
      const sent = new URLSearchParams(bodies.at(-1))
      const values = ['ExternalId', 'RoleSessionName', 'Tags.member.5.Value', 'Tags.member.6.Key'].concat(
        ...['SourceIdentity', 'PolicyArns.member.1.arn'],
      )
      assert.deepEqual(
        values.map((name) => sent.get(name)),
        [EXTERNAL_ID, 'shop.mine', one.uid, 'team', 'shop.default', policy],
      )
    },
  )

  test('a role that the node’s policy does not allow is denied with the text of AWS', needed, async () => {
    const { status, body } = await world.ask(await pod('other'))
    assert.deepEqual([status, body.code], [403, 'sts-denied'])
    assert.match(
      body.detail ?? '',
      /AccessDenied: User: arn:aws:iam::123456789012:user\/node is not authorized/,
    )
  })

  test('a call that is changed on its way is refused, and the pod gets no credentials', needed, async () => {
    for (const [what, change] of [
      ['role', (body: string) => body.replace('role%2Fapp', 'role%2Fother')],
      ['session name', (body: string) => body.replace('RoleSessionName=shop', 'RoleSessionName=ship')],
      ['session policies', (body: string) => body.replace('ReadOnlyAccess', 'AdministratorAccess')],
      ['source identity', (body: string) => body.replace('SourceIdentity=shop', 'SourceIdentity=ship')],
      ['duration', (body: string) => body.replace('DurationSeconds=3600', 'DurationSeconds=3601')],
    ] as const) {
      tamper = change
      const policies = { [KEYS.sessionPolicyArns]: '["arn:aws:iam::aws:policy/ReadOnlyAccess"]' }
      const { status, body } = await world.ask(await pod('app', policies))
      assert.deepEqual(
        [status, body.code, body.AccessKeyId],
        [503, 'node-credentials-unavailable', undefined],
        what,
      )
      assert.match(body.detail ?? '', /SignatureDoesNotMatch/)
    }
    tamper = (body) => body
    assert.equal(await world.code(await pod('app')), 'ok')
  })

  test('a secret key with one wrong character is refused', needed, async () => {
    const { AWS_SECRET_ACCESS_KEY: right = '' } = process.env
    process.env.AWS_SECRET_ACCESS_KEY = `${right.startsWith('x') ? 'y' : 'x'}${right.slice(1)}`
    try {
      const broker = await world.brokerNotReady()
      await eventually('the reason is reported', () => broker.readiness().detail?.includes('signature'))
      assert.equal(broker.readiness().code, 'node-credentials-unavailable')
    } finally {
      process.env.AWS_SECRET_ACCESS_KEY = right
    }
  })
})

/**
 * Passes requests on to `port` of this machine with their bodies changed by `tamper`, and with the matching length and hash
 * (which moto, unlike AWS, does not compare with the body). Everything else stays as it was signed.
 */
async function tamperingProxy(port: number, tamper: (body: string) => string): Promise<Server> {
  const server = createServer(async (incoming, outgoing) => {
    let body = ''
    for await (const chunk of incoming) body += chunk
    const changed = tamper(body)
    const { method, url: path, headers } = incoming
    const fitting = {
      'content-length': String(Buffer.byteLength(changed)),
      'x-amz-content-sha256': createHash('sha256').update(changed).digest('hex'),
    }
    const options = { host: '127.0.0.1', port, method, path, headers: { ...headers, ...fitting } }
    request(options, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers)
      response.pipe(outgoing)
    })
      .on('error', () => outgoing.destroy())
      .end(changed)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
