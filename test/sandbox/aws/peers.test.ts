/** Clients that we have not written and that use the stand-in: what they accept and refuse, they accept and refuse with AWS. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { needsBoto3, needsPeer, peer } from '../../peers/peers.ts'
import { Aws, trust, trustWebIdentity } from './client.ts'

const run = promisify(execFile)
let aws: Aws

before(async () => {
  aws = await Aws.start()
  await aws.putRole({ arn: 'app', trustPolicy: trust({ principal: '*', externalId: 'a:b/c' }) })
})
after(() => aws.stop())

/** Runs a program in the environment of an AWS client on this node; returns its output, even if it failed. */
async function node(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  const { PATH = '', HOME = '' } = process.env
  const options = {
    env: { PATH, HOME, ...aws.environment(), AWS_EC2_METADATA_DISABLED: 'false', ...env },
    timeout: 120_000,
  }
  try {
    return (await run(peer(command) ?? command, args, options)).stdout
  } catch (error) {
    if (error instanceof Error && 'stderr' in error) return String(error.stderr)
    throw error
  }
}

const cli = (...args: string[]) => node('aws', ['--output', 'json', 'sts', ...args])
const assumeRole = [
  'assume-role',
  '--role-arn',
  'arn:aws:iam::111111111111:role/app',
  '--role-session-name',
  'cli',
]

test(
  'the AWS CLI gets the node role, assumes a role, and has the identity of that role',
  needsPeer('aws'),
  async () => {
    const caller = JSON.parse(await cli('get-caller-identity'))
    assert.equal(caller.Arn, `arn:aws:sts::111111111111:assumed-role/node/${aws.config.instanceId}`)
    const issued = JSON.parse(
      await cli(
        ...assumeRole,
        '--external-id',
        'a:b/c',
        '--tags',
        'Key=team,Value=ä b',
        '--duration-seconds',
        '900',
      ),
    )
    assert.equal(issued.AssumedRoleUser.Arn, 'arn:aws:sts::111111111111:assumed-role/app/cli')
    const { AccessKeyId, SecretAccessKey, SessionToken } = issued.Credentials
    const keys = {
      AWS_ACCESS_KEY_ID: AccessKeyId,
      AWS_SECRET_ACCESS_KEY: SecretAccessKey,
      AWS_SESSION_TOKEN: SessionToken,
    }
    const identity = JSON.parse(await node('aws', ['--output', 'json', 'sts', 'get-caller-identity'], keys))
    assert.equal(identity.Arn, issued.AssumedRoleUser.Arn)
    assert.deepEqual((await aws.calls({ session: 'cli' }))[0]?.tags, { team: 'ä b' })
    assert.match(
      await node('aws', ['sts', 'get-caller-identity'], {
        ...keys,
        AWS_SECRET_ACCESS_KEY: `${SecretAccessKey.slice(1)}x`,
      }),
      /\(SignatureDoesNotMatch\) when calling the GetCallerIdentity operation: The request signature we calculated/,
    )
  },
)

test('the AWS CLI prints refusals with the texts of AWS', needsPeer('aws'), async () => {
  assert.match(
    await cli(...assumeRole),
    /\(AccessDenied\) when calling the AssumeRole operation: User: arn:aws:sts::111111111111:assumed-role\/node\/i-0abc1234567890def is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111111111111:role\/app/,
  )
  assert.match(
    await cli(...assumeRole, '--external-id', 'a:b/c', '--duration-seconds', '7200'),
    /\(ValidationError\) .* exceeds the 1 hour session limit for roles assumed by role chaining\./,
  )
})

test(
  'the AWS CLI gets a session for a web identity token, without credentials',
  needsPeer('aws'),
  async () => {
    const issuer = 'https://oidc.example.com/cluster'
    const { publicKey, privateKey } = await generateKeyPair('RS256')
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one' }] }
    const provider = await aws.putOidcProvider({ issuer, clientIds: ['sts.amazonaws.com'], keys: { jwks } })
    const subject = 'system:serviceaccount:shop:orders'
    await aws.putRole({ arn: 'federated', trustPolicy: trustWebIdentity({ provider, subject }) })
    const token = (sub: string) =>
      new SignJWT({ iss: issuer, sub, aud: 'sts.amazonaws.com' })
        .setProtectedHeader({ alg: 'RS256', kid: 'one' })
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(privateKey)
    const ask = (jwt: string) =>
      node(
        'aws',
        [
          ...['--output', 'json', 'sts', 'assume-role-with-web-identity', '--role-session-name', 'cli'],
          ...['--role-arn', 'arn:aws:iam::111111111111:role/federated', '--web-identity-token', jwt],
        ],
        { AWS_EC2_METADATA_DISABLED: 'true' },
      )
    const issued = JSON.parse(await ask(await token(subject)))
    assert.equal(issued.AssumedRoleUser.Arn, 'arn:aws:sts::111111111111:assumed-role/federated/cli')
    assert.equal(issued.SubjectFromWebIdentityToken, subject)
    assert.match(
      await ask(await token('system:serviceaccount:shop:others')),
      /\(AccessDenied\) when calling the AssumeRoleWithWebIdentity operation: Not authorized to perform sts:AssumeRoleWithWebIdentity/,
    )
  },
)

const PYTHON = `
import boto3, json, urllib.request
sts = boto3.client('sts')
out = {'node': sts.get_caller_identity()['Arn']}
issued = sts.assume_role(RoleArn='arn:aws:iam::111111111111:role/app', RoleSessionName='boto', ExternalId='a:b/c')
keys = issued['Credentials']
out['expires'] = keys['Expiration'].isoformat()
role = boto3.client('sts', aws_access_key_id=keys['AccessKeyId'], aws_secret_access_key=keys['SecretAccessKey'], aws_session_token=keys['SessionToken'])
out['role'] = role.get_caller_identity()['Arn']
url = role.generate_presigned_url('get_caller_identity', ExpiresIn=60, HttpMethod='GET')
out['presigned'] = urllib.request.urlopen(url).read().decode()
try:
    urllib.request.urlopen(url.replace('X-Amz-Expires=60', 'X-Amz-Expires=61'))
except urllib.error.HTTPError as error:
    out['tampered'] = error.read().decode()
print(json.dumps(out))
`

test(
  'boto3 gets the node role, assumes a role, and its presigned requests verify',
  needsBoto3(),
  async () => {
    const out = JSON.parse(await node('python3', ['-c', PYTHON]))
    assert.equal(out.node, `arn:aws:sts::111111111111:assumed-role/node/${aws.config.instanceId}`)
    assert.equal(out.role, 'arn:aws:sts::111111111111:assumed-role/app/boto')
    assert.ok(Math.abs(Date.parse(out.expires) - Date.now() - 3_600_000) < 120_000)
    assert.match(out.presigned, /<Arn>arn:aws:sts::111111111111:assumed-role\/app\/boto<\/Arn>/)
    assert.match(out.tampered, /<Code>SignatureDoesNotMatch<\/Code>/)
  },
)
