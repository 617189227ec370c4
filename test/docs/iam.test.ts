/** The policies of docs/iam.md, evaluated by the sandbox's STS for calls of the broker's client. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { parse } from 'yaml'
import type { SessionRequest } from '../../node-guard/broker/authorize/entitlement.ts'
import { type Sts, stsClient, webIdentityClient } from '../../node-guard/broker/aws/sts-client.ts'
import { Aws, type PolicyDocument } from '../sandbox/aws/client.ts'
import { page, tagged } from './markdown.ts'

const PAGE = 'docs/iam.md'
const NODE_ROLE = 'arn:aws:iam::111111111111:role/my-node-role'
const READER = 'arn:aws:iam::111111111111:role/pods/reports-reader'
const PARTNER = 'arn:aws:iam::222222222222:role/partner'
const TAGS = [
  { Key: 'kubernetes-namespace', Value: 'reports' },
  { Key: 'kubernetes-service-account', Value: 'nightly' },
]

const policy = (tag: string): PolicyDocument => JSON.parse(tagged(PAGE, tag).text)

describe('the policies of docs/iam.md:', () => {
  let aws: Aws
  let sts: Sts
  before(async () => {
    aws = await Aws.start({ nodeRoleArn: NODE_ROLE })
    // The broker's own client and credential chain, which gets the node role from the metadata service.
    Object.assign(process.env, aws.environment())
    sts = stsClient('eu-west-1', 2)
  })
  after(async () => {
    sts?.close()
    await aws?.stop()
  })
  beforeEach(() => aws.setNodePolicy(policy('node-policy').Statement))

  const trusting = (arn: string, tag: string) => aws.putRole({ arn, trustPolicy: policy(tag) })
  const assume = async (request: Partial<SessionRequest> = {}): Promise<'ok' | 'denied'> => {
    const all = {
      roleArn: READER,
      externalId: undefined,
      sessionName: 'reports.nightly',
      tags: [],
      ...{ sourceIdentity: undefined, policyArns: [] },
      durationSeconds: 3600,
    }
    try {
      await sts.assumeRole({ ...all, ...request })
      return 'ok'
    } catch (error) {
      assert.match((error as Error).name, /AccessDenied/)
      return 'denied'
    }
  }

  test('the node policy and the trust policy together let the broker assume the role', async () => {
    await trusting(READER, 'trust-policy')
    assert.equal(await assume(), 'ok')
    assert.equal(await assume({ roleArn: 'arn:aws:iam::111111111111:role/pods/nobody' }), 'denied')
  })

  test('the trust policy for one namespace refuses sessions of others', async () => {
    await trusting(READER, 'trust-policy-namespace')
    assert.equal(await assume(), 'ok')
    for (const sessionName of ['other.nightly', 'reports', 'reports-2.nightly', 'xreports.nightly'])
      assert.equal(await assume({ sessionName }), 'denied', sessionName)
  })

  test('the trust policy by name trusts the node role, but the node policy must allow the role, too', async () => {
    await trusting(READER, 'trust-policy-by-name')
    assert.equal(await assume(), 'ok')
    await trusting('arn:aws:iam::111111111111:role/admin', 'trust-policy-by-name')
    assert.equal(await assume({ roleArn: 'arn:aws:iam::111111111111:role/admin' }), 'denied')
  })

  test('a role of another account needs the node policy for other accounts', async () => {
    await trusting(PARTNER, 'trust-policy')
    assert.equal(await assume({ roleArn: PARTNER }), 'denied')
    await aws.setNodePolicy(policy('node-policy-cross-account').Statement)
    assert.equal(await assume({ roleArn: PARTNER }), 'ok')
  })

  test('a session needs the external id of the trust policy', async () => {
    await trusting(READER, 'trust-policy-external-id')
    assert.equal(await assume({ externalId: 'partner-4711' }), 'ok')
    assert.equal(await assume({ externalId: 'partner-4712' }), 'denied')
    assert.equal(await assume(), 'denied')
  })

  test('the trust policy for a service account accepts only its tokens, without any right of the node', async () => {
    await aws.setNodePolicy([])
    const { publicKey, privateKey } = await generateKeyPair('RS256')
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one' }] }
    const issuer = 'https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE'
    await aws.putOidcProvider({ issuer, clientIds: ['sts.amazonaws.com', 'other'], keys: { jwks } })
    await trusting(READER, 'trust-policy-web-identity')
    const client = webIdentityClient('eu-west-1', 1)
    const assume = async (subject: string, audience = 'sts.amazonaws.com') => {
      const token = await new SignJWT({ iss: issuer, sub: subject, aud: audience })
        .setProtectedHeader({ alg: 'RS256', kid: 'one' })
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(privateKey)
      const request = { roleArn: READER, externalId: undefined, sessionName: 'reports.nightly', tags: [] }
      const unnarrowed = { sourceIdentity: undefined, policyArns: [], durationSeconds: 3600 }
      return client.assumeRole({ ...request, ...unnarrowed }, token).then(
        () => 'ok',
        (error: Error) => error.name,
      )
    }
    assert.equal(await assume('system:serviceaccount:reports:nightly'), 'ok')
    assert.match(await assume('system:serviceaccount:reports:other'), /AccessDenied/)
    assert.match(await assume('system:serviceaccount:other:nightly'), /AccessDenied/)
    assert.match(await assume('system:serviceaccount:reports:nightly', 'other'), /AccessDenied/)
  })

  test('session tags need sts:TagSession in the trust policy, which can depend on their values', async () => {
    await trusting(READER, 'trust-policy')
    assert.equal(await assume({ tags: TAGS }), 'denied')
    await trusting(READER, 'trust-policy-tags')
    assert.equal(await assume({ tags: TAGS }), 'ok')
    assert.equal(
      await assume({ tags: [{ Key: 'kubernetes-namespace', Value: 'other' }, ...TAGS.slice(1)] }),
      'denied',
    )
  })

  test('a source identity needs sts:SetSourceIdentity in the trust policy, which can depend on its value', async () => {
    await trusting(READER, 'trust-policy')
    assert.equal(await assume({ sourceIdentity: 'reports.nightly' }), 'denied')
    await trusting(READER, 'trust-policy-source-identity')
    assert.equal(await assume({ sourceIdentity: 'reports.nightly' }), 'ok')
    assert.equal(await assume({ sourceIdentity: 'other.nightly' }), 'denied')
    assert.equal(await assume(), 'denied')
  })

  test('session policies need no action in the trust policy', async () => {
    const arn = 'arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess'
    await aws.putManagedPolicy({ arn, statements: [{ Effect: 'Allow', Action: 's3:Get*', Resource: '*' }] })
    await trusting(READER, 'trust-policy')
    assert.equal(await assume({ policyArns: [arn] }), 'ok')
  })
})

describe('the same policies are given for', () => {
  const compact = (document: unknown) =>
    JSON.stringify(document).replaceAll('["sts:AssumeRole"]', '"sts:AssumeRole"')

  test('CloudFormation', () => {
    const values: Readonly<Record<string, string>> = {
      'AWS::Partition': 'aws',
      'AWS::AccountId': '111111111111',
      NodeRoleName: 'my-node-role',
    }
    const sub = (text: string) =>
      text.replace(/\$\{([\w:]+)\}/g, (_, name: string) => values[name] ?? assert.fail(name))
    const template = parse(tagged(PAGE, 'cloudformation').text, {
      customTags: [
        { tag: '!Sub', resolve: sub },
        { tag: '!Ref', resolve: (name: string) => values[name] ?? assert.fail(name) },
      ],
    })
    const { AssumeRolesOfPods: node, ReportsReader: role } = template.Resources
    assert.equal(node.Properties.RoleName, 'my-node-role')
    assert.equal(role.Properties.Path + role.Properties.RoleName, '/pods/reports-reader')
    assert.equal(compact(node.Properties.PolicyDocument), compact(policy('node-policy')))
    assert.equal(compact(role.Properties.AssumeRolePolicyDocument), compact(policy('trust-policy')))
  })

  test('Terraform', () => {
    const [block] = page(PAGE).blocks.filter(({ language }) => language === 'hcl')
    const documents = [...(block?.text ?? '').matchAll(/jsonencode\((\{[\s\S]*?\n {2}\})\)/g)].map(
      ([, hcl = '']) =>
        // Objects of HCL are converted to flow mappings of YAML.
        parse(
          hcl
            .replaceAll('data.aws_iam_role.node.arn', `"${NODE_ROLE}"`)
            .replace(/(\w+)\s*= /g, '"$1": ')
            .replace(/(["\]}])\n/g, '$1,\n'),
        ),
    )
    assert.deepEqual(documents.map(compact), [
      compact(policy('node-policy')),
      compact(policy('trust-policy')),
    ])
  })

  test('kops', () => {
    const [, kops] = page('docs/install.md').blocks.filter(({ text }) => text.startsWith('# kops'))
    const [statement, ...more] = JSON.parse(parse(kops?.text ?? '').spec.additionalPolicies.node)
    assert.deepEqual(more, [])
    assert.equal(statement.Resource, policy('node-policy').Statement[0]?.Resource)
    assert.equal(statement.Action, 'sts:AssumeRole')
  })
})
