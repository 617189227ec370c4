import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inClusterAccess } from '../../common/kube/access.ts'
import { kubeconfigAccess } from '../../common/kube/kubeconfig.ts'
import { parseSettings } from '../../common/settings.ts'
import { imdsEndpoint } from '../../node-guard/broker/instance/imds.ts'
import { BROKER_SETTINGS, conflicts } from '../../node-guard/broker/settings.ts'

const parse = (...argv: string[]) =>
  parseSettings(BROKER_SETTINGS, { argv: ['--node-name=n', ...argv], env: {} })

test('the defaults are the documented ones', () => {
  const result = parse()
  assert.ok(result.ok)
  assert.deepEqual(result.settings, {
    nodeName: 'n',
    kubeconfig: undefined,
    listen: ['169.254.170.24', 'fd00:70d2:1a::24'],
    port: 9171,
    healthPort: 9172,
    audience: 'pod2iam',
    issuer: undefined,
    imdsEndpoint: undefined,
    region: undefined,
    baseRoleArn: undefined,
    defaultRole: undefined,
    roleKey: 'iam.amazonaws.com/role',
    serviceAccountRoles: false,
    namespaceRestrictions: true,
    namespaceRestrictionFormat: 'glob',
    permittedRoles: [],
    sessionDuration: 3600,
    sessionScope: 'pod',
    sessionTags: false,
    clusterName: undefined,
    clusterArn: undefined,
    extraSessionTags: [],
    sourceIdentity: undefined,
    assumeRoleArn: undefined,
    credentialSources: ['node-role'],
    webIdentityAudience: 'sts.amazonaws.com',
    webIdentityFurtherAudiences: [],
    stsQps: 20,
    stsConcurrency: 10,
    metadataAllow: [],
    requireFirewall: true,
    stateDir: '/run/pod2iam',
    hostPodsDir: undefined,
    hostNetworkAllowed: [],
    logLevel: 'info',
  })
  assert.deepEqual(conflicts(result.settings), [])
})

const TEMPLATE = '{namespace}.{service-account}'
const CLUSTER = 'arn:aws:eks:eu-west-1:111111111111:cluster/prod'

test('with web identity, settings that it cannot support are refused, and the limit of role chaining does not apply', () => {
  const found = (...argv: string[]) => {
    const result = parse(...argv)
    assert.ok(result.ok)
    return conflicts(result.settings).join(' ')
  }
  const alone = '--credential-sources=web-identity'
  assert.match(
    found(alone, '--session-scope=role'),
    /--session-scope=role needs --credential-sources=node-role/,
  )
  for (const mark of ['--session-tags=true', '--extra-session-tags=a=b', `--source-identity=${TEMPLATE}`]) {
    assert.match(found(alone, mark), /needs node-role as the first of --credential-sources/)
    assert.equal(found('--credential-sources=node-role,web-identity', mark), '')
  }
  for (const name of ['--web-identity-audience', '--web-identity-further-audiences']) {
    assert.match(found(alone, `${name}=pod2iam`), new RegExp(`^${name} must not be that of --audience`))
    const issuer = 'https://issuer.example'
    assert.match(
      found(alone, `${name}=${issuer}`, `--issuer=${issuer}`),
      new RegExp(`^${name} must not be that of --issuer`),
    )
    assert.equal(found(alone, `${name}=vault`, `--issuer=${issuer}`), '')
  }
  const hop = ['--assume-role-arn=arn:aws:iam::111111111111:role/hop', '--session-duration=43200']
  assert.match(found(...hop), /at most 3600 with --assume-role-arn/)
  assert.equal(found(alone, ...hop), '')
})

test('the credential sources are read from one or several flags', () => {
  for (const flags of [
    ['--credential-sources=web-identity,node-role'],
    ['--credential-sources=web-identity', '--credential-sources=node-role'],
  ]) {
    const result = parse(...flags)
    assert.deepEqual(result.ok && result.settings.credentialSources, ['web-identity', 'node-role'])
  }
})

test('addresses may be given with and without brackets', () => {
  const result = parse('--listen', '10.0.0.1,[fd00::1]')
  assert.deepEqual(result.ok && result.settings.listen, ['10.0.0.1', 'fd00::1'])
})

test('a slash is added to a base role ARN without one', () => {
  const result = parse('--base-role-arn', 'arn:aws:iam::111111111111:role')
  assert.equal(result.ok && result.settings.baseRoleArn, 'arn:aws:iam::111111111111:role/')
})

test('the operator’s tags are read from one or several flags, and a value may be empty or have an equals sign', () => {
  const result = parse('--extra-session-tags=team=a=b,cost center=', '--extra-session-tags=größe=12')
  assert.deepEqual(result.ok && result.settings.extraSessionTags, [
    { Key: 'team', Value: 'a=b' },
    { Key: 'cost center', Value: '' },
    { Key: 'größe', Value: '12' },
  ])
})

const WRONG: [argument: string, reason: RegExp][] = [
  ['--credential-sources=web', /has "web", which is neither node-role nor web-identity/],
  ['--credential-sources=', /has "", which is neither/],
  ['--credential-sources=web-identity,web-identity', /names one of them twice/],
  ['--web-identity-audience=a b', /must be an audience such as sts\.amazonaws\.com/],
  ['--web-identity-further-audiences=a,b c', /further-audiences must be an audience such as/],
  ['--web-identity-audience=https://kubernetes.default.svc', /must not be an audience of the API server/],
  ['--web-identity-audience=kubernetes.svc.default', /must not be an audience of the API server/],
  [
    '--web-identity-further-audiences=https://kubernetes.default.svc.cluster.local',
    /must not be an audience of the API server/,
  ],
  ['--cluster-arn=prod', /--cluster-arn must be the ARN of an EKS cluster/],
  [`--cluster-arn=${CLUSTER}/x`, /must be the ARN of an EKS cluster/],
  ['--cluster-arn=arn:aws:ecs:eu-west-1:111111111111:cluster/prod', /must be the ARN of an EKS cluster/],
  ['--extra-session-tags=team', /has "team", which must be key=value/],
  ['--extra-session-tags==x', /has "=x", which must be key=value/],
  ['--extra-session-tags=a=b;c', /has "a=b;c", which must be/],
  ['--extra-session-tags=a!=b', /has "a!=b", which must be/],
  [`--extra-session-tags=${'k'.repeat(129)}=b`, /which must be/],
  [`--extra-session-tags=k=${'v'.repeat(257)}`, /which must be/],
  ['--extra-session-tags=AWS:x=y', /AWS reserves keys that begin with aws:/],
  ['--extra-session-tags=eks-cluster-arn=x', /that key is one of --session-tags/],
  ['--extra-session-tags=Kubernetes-Pod-UID=x', /that key is one of --session-tags/],
  ['--extra-session-tags=Team=a,team=b', /has the key "team" twice/],
  [
    `--extra-session-tags=${Array.from({ length: 45 }, (_, index) => `k${index}=v`)}`,
    /has 45 tags: AWS allows 50, of which --session-tags needs 6/,
  ],
  ['--source-identity=x', /--source-identity must be \{namespace\}\.\{service-account\}/],
  ['--source-identity={namespace}/{service-account}', /must be \{namespace\}/],
  ['--source-identity={namespace}-{service-account}', /must be \{namespace\}/],
  ['--source-identity={namespace}{service-account}', /must be \{namespace\}/],
  ['--source-identity={service-account}.{namespace}', /must be \{namespace\}/],
  ['--source-identity={namespace}=.{service-account}', /must be \{namespace\}/],
  [`--source-identity=${'x'.repeat(25)}${TEMPLATE}`, /at most 24/],
  ['--source-identity=a=b.{namespace}.{service-account}', /must be/],
  ['--listen=here', /--listen has "here"/],
  ['--imds-endpoint=169.254.169.254', /--imds-endpoint must be a URL/],
  ['--imds-endpoint=http://x/latest', /--imds-endpoint must be a URL/],
  ['--base-role-arn=role/', /--base-role-arn is not usable/],
  ['--assume-role-arn=hop', /--assume-role-arn is not usable/],
  ['--session-duration=60', /--session-duration must be a whole number from 900 to 43200/],
  ['--session-scope=node', /--session-scope must be one of pod, role/],
  ['--sts-qps=0', /--sts-qps/],
  ['--metadata-allow=iam/', /would serve credentials/],
  ['--metadata-allow=meta data', /not a path/],
  ['--node-name=Node!', /--node-name/],
  ['--warm-up=true', /is not a setting/],
]

for (const [argument, reason] of WRONG)
  test(`${argument} is refused with the reason`, () => {
    const result = parse(argument)
    assert.ok(!result.ok)
    assert.match(result.errors.join(' '), reason)
  })

test('settings that contradict each other are refused, never ignored', () => {
  const found = (...argv: string[]) => {
    const result = parse(...argv)
    assert.ok(result.ok)
    return conflicts(result.settings).join(' ')
  }
  assert.match(
    found('--session-tags', '--session-scope=role'),
    /--session-tags=true needs --session-scope=pod/,
  )
  assert.match(found('--cluster-name=x'), /--cluster-name has no effect/)
  assert.match(found(`--cluster-arn=${CLUSTER}`), /--cluster-arn has no effect/)
  const tagged = ['--session-tags', `--cluster-arn=${CLUSTER}`]
  assert.match(found(...tagged, '--cluster-name=other'), /--cluster-name must be prod, as in --cluster-arn/)
  assert.equal(found(...tagged, '--cluster-name=prod'), '')
  assert.match(
    found(`--source-identity=${TEMPLATE}`, '--session-scope=role'),
    /--source-identity needs --session-scope=pod/,
  )
  assert.equal(found('--extra-session-tags=a=b', '--session-scope=role'), '')
  assert.match(found('--listen='), /--listen must name/)
  assert.match(
    found('--assume-role-arn=arn:aws:iam::111111111111:role/hop', '--session-duration=7200'),
    /at most 3600/,
  )
})

test('the metadata endpoint is that of the flag, otherwise of the SDK’s variables, otherwise of EC2', () => {
  assert.equal(imdsEndpoint('http://a', { AWS_EC2_METADATA_SERVICE_ENDPOINT: 'http://b' }), 'http://a')
  assert.equal(imdsEndpoint(undefined, { AWS_EC2_METADATA_SERVICE_ENDPOINT: 'http://b' }), 'http://b')
  assert.equal(
    imdsEndpoint(undefined, { AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: 'IPv6' }),
    'http://[fd00:ec2::254]',
  )
  assert.equal(imdsEndpoint(undefined, {}), 'http://169.254.169.254')
})

test('in a pod, the API server is found through the environment, also over IPv6', async (t) => {
  const directory = await temporary(t)
  await Promise.all([writeFile(join(directory, 'ca.crt'), 'CA'), writeFile(join(directory, 'token'), 'T\n')])
  const access = inClusterAccess(
    { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' },
    directory,
  )
  assert.equal(access.server.href, 'https://[fd00::1]:6443/')
  assert.deepEqual(await access.read(), { ca: 'CA', token: 'T' })
  await writeFile(join(directory, 'token'), 'T2\n')
  assert.equal((await access.read()).token, 'T2')
  assert.throws(() => inClusterAccess({}, directory), /KUBERNETES_SERVICE_HOST is not set.*--kubeconfig/)
})

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-kubeconfig-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}

const kubeconfig = (user: object, cluster: object = {}) =>
  JSON.stringify({
    clusters: [{ name: 'c', cluster: { server: 'https://api:6443', ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  })

test('data, files beside it and the server name of a kubeconfig are used', async (t) => {
  const directory = await temporary(t)
  const file = join(directory, 'config')
  await writeFile(join(directory, 'token'), 'from-file\n')
  await writeFile(join(directory, 'key.pem'), 'KEY')
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  await writeFile(
    file,
    kubeconfig(
      { tokenFile: 'token', 'client-certificate-data': base64('CERT'), 'client-key': 'key.pem' },
      { 'certificate-authority-data': base64('CA'), 'tls-server-name': 'kubernetes' },
    ),
  )
  const access = await kubeconfigAccess(file)
  assert.deepEqual([access.server.href, access.serverName], ['https://api:6443/', 'kubernetes'])
  assert.deepEqual(await access.read(), { ca: 'CA', cert: 'CERT', key: 'KEY', token: 'from-file' })
})

test('a kubeconfig that cannot be used is refused with the reason', async (t) => {
  const file = join(await temporary(t), 'config')
  const cases: [content: string, reason: RegExp][] = [
    ['apiVersion: v1\nkind: Config\n', /no context/],
    [kubeconfig({ exec: { command: 'no-such-plugin' } }), /plugin "no-such-plugin" could not be started/],
    [kubeconfig({ token: 't' }, { server: 'nowhere' }), /no server URL/],
    ['{"contexts":[],"current-context":"x"}', /no context named "x"/],
    ['{}', /no context/],
  ]
  for (const [content, reason] of cases) {
    await writeFile(file, content)
    await assert.rejects(kubeconfigAccess(file), reason)
  }
})
