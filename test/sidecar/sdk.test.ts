/** Clients written by others, with their default chains, against the built sidecar. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { needsBoto3, needsPeer, peer } from '../peers/peers.ts'
import { until } from '../support/until.ts'
import {
  credentialsBody,
  loopbackEnv,
  openWorkshop,
  type SidecarProcess,
  startBroker,
  startProcess,
  type TestBroker,
  type Workshop,
} from './support/index.ts'

const run = promisify(execFile)
const { AccessKeyId, SecretAccessKey, Token } = credentialsBody()

/** Prints the credentials that the SDK's own chain finds. The STS call shows that it signs with them. */
const JS_V3 = (sdk: string) => `
import { STSClient, GetCallerIdentityCommand } from ${JSON.stringify(sdk)}
const client = new STSClient({ region: 'eu-west-1' })
const { accessKeyId, secretAccessKey, sessionToken, expiration } = await client.config.credentials()
const { Arn } = await client.send(new GetCallerIdentityCommand())
console.log(JSON.stringify({ accessKeyId, secretAccessKey, sessionToken, expiration, Arn }))
`
const BOTO3 = `
import boto3, json
session = boto3.session.Session()
found = session.get_credentials()
frozen = found.get_frozen_credentials()
print(json.dumps(dict(method=found.method, accessKeyId=frozen.access_key, secretAccessKey=frozen.secret_key, sessionToken=frozen.token)))
`

describe('SDKs', () => {
  let workshop: Workshop
  let broker: TestBroker
  let sts: Server
  const sidecars = new Map<string, SidecarProcess>()
  const signed: string[] = []

  before(async () => {
    workshop = await openWorkshop()
    broker = await startBroker()
    for (const tokens of ['optional', 'required'])
      sidecars.set(
        tokens,
        await startProcess(
          workshop,
          { ...loopbackEnv(workshop, broker.url), POD2IAM_IMDS_TOKENS: tokens },
          { ready: true },
        ),
      )
    sts = createServer((request, response) => {
      signed.push(`${request.headers.authorization} ${request.headers['x-amz-security-token']}`)
      response
        .writeHead(200, { 'Content-Type': 'text/xml' })
        .end(
          '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:sts::111111111111:assumed-role/reader/x</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>',
        )
    })
    await new Promise<void>((done) => sts.listen(0, '127.0.0.1', done))
  })
  after(async () => {
    await Promise.all([...sidecars.values()].map(({ end }) => end()))
    await broker?.close()
    sts?.close()
    workshop?.remove()
  })

  /** An environment in which the sidecar is the only source of credentials. */
  const env = (tokens: string, more: Record<string, string> = {}) => ({
    PATH: process.env.PATH ?? '',
    HOME: workshop.directory,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://127.0.0.1:${sidecars.get(tokens)?.port}/`,
    AWS_ENDPOINT_URL_STS: `http://127.0.0.1:${(sts.address() as AddressInfo).port}`,
    AWS_MAX_ATTEMPTS: '1',
    ...more,
  })
  const since = (tokens: string) => {
    const { logs } = sidecars.get(tokens) ?? assert.fail()
    const start = logs.length
    return async (imds: 'v1' | 'v2') => {
      const lines = await until('the document is logged', () => {
        const lines = logs.slice(start).filter(({ msg }) => msg === 'request')
        return lines.some(({ path }) => String(path).endsWith('/reader')) && lines
      })
      assert.ok(
        lines.every((line) => line.imds === imds && line.status === 200),
        JSON.stringify(lines),
      )
    }
  }

  for (const tokens of ['optional', 'required'])
    test(`the AWS SDK for JavaScript v3 finds credentials and signs with them (tokens ${tokens})`, async () => {
      const script = join(workshop.directory, 'sdk.mjs')
      writeFileSync(script, JS_V3(import.meta.resolve('@aws-sdk/client-sts')))
      const used = since(tokens)
      const { stdout } = await run(process.execPath, [script], { env: env(tokens), timeout: 120_000 })
      const found = JSON.parse(stdout)
      assert.deepEqual(
        [found.accessKeyId, found.secretAccessKey, found.sessionToken],
        [AccessKeyId, SecretAccessKey, Token],
      )
      assert.ok(Date.parse(found.expiration) > Date.now() + 3_500_000)
      assert.equal(found.Arn, 'arn:aws:sts::111111111111:assumed-role/reader/x')
      assert.ok(signed.some((text) => text.includes(`Credential=${AccessKeyId}/`) && text.endsWith(Token)))
      await used('v2')
    })

  for (const tokens of ['optional', 'required'])
    test(`boto3 finds credentials by its default chain (tokens ${tokens})`, needsBoto3(), async () => {
      const used = since(tokens)
      const { stdout } = await run(python(), ['-c', BOTO3], { env: env(tokens), timeout: 120_000 })
      assert.deepEqual(JSON.parse(stdout), {
        method: 'iam-role',
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: Token,
      })
      await used('v2')
    })

  for (const tokens of ['optional', 'required'])
    test(`the AWS CLI finds credentials and the region (tokens ${tokens})`, needsPeer('aws'), async () => {
      const used = since(tokens)
      const { stdout } = await run(peer('aws') ?? '', ['configure', 'list'], {
        env: env(tokens),
        timeout: 120_000,
      })
      assert.match(stdout, /access_key\W+\*+MPLE\W.*iam-role/)
      await used('v2')
      const identity = await run(peer('aws') ?? '', ['sts', 'get-caller-identity', '--region', 'eu-west-1'], {
        env: env(tokens),
        timeout: 120_000,
      })
      assert.match(identity.stdout, /assumed-role\/reader/)
    })
})

function python(): string {
  return peer('python3') ?? 'python3'
}
