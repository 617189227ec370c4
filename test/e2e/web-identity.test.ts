/** The credential source web-identity as users have it: real SDKs in pods that know only the metadata service, on a node whose role may assume nothing. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { ADDRESSES, isReady, needsNamespaces, trustWebIdentity } from '../sandbox/index.ts'
import { until } from '../support/until.ts'
import { credentials, get, IPV4, LIST, ROLE, whoami } from './pods.ts'
import { PROGRAMS, startClient } from './sdk/clients.ts'

const SOURCES = '--credential-sources=node-role,web-identity'
const SUBJECT = 'system:serviceaccount:federated:default'
/** The address of STS for the clients of the tests, without any credentials. */
const APP_CONTAINERS = [
  {
    name: 'app',
    image: IDLE_IMAGE,
    env: [
      { name: 'AWS_REGION', value: 'eu-west-1' },
      { name: 'AWS_DEFAULT_REGION', value: 'eu-west-1' },
      { name: 'AWS_ENDPOINT_URL_STS', value: `http://${ADDRESSES.vpc[0]}` },
    ],
  },
]
const APP = 'arn:aws:iam::111111111111:role/shop-app'

describe('web identity', needsNamespaces(), () => {
  let cluster: Cluster

  before(async () => {
    cluster = await createCluster({
      injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/', SOURCES],
      brokerArgs: [SOURCES],
    })
    const { aws, api } = cluster
    // An operator creates this once in each account: a provider for the cluster's issuer, here with the keys that it publishes.
    const { body } = await api.admin.request('GET', '/openid/v1/jwks')
    const provider = await aws.putOidcProvider({
      issuer: api.issuer,
      clientIds: ['sts.amazonaws.com'],
      keys: { jwks: JSON.parse(body) },
    })
    await aws.putRole({ arn: 'shop-app', trustPolicy: trustWebIdentity({ provider, subject: SUBJECT }) })
    await aws.setNodePolicy([])
    const annotations = { 'pod2iam.dev/credential-source': 'web-identity' }
    await cluster.namespace('federated', { allowed: ['shop-*'], annotations })
    await cluster.namespace('plain', { allowed: ['shop-*'] })
    for (const [name, more] of [
      ['federated/env', { 'pod2iam.dev/redirect': 'env' }],
      ['federated/nft', { 'pod2iam.dev/redirect': 'nft' }],
    ] as const)
      await cluster.pod(name, { annotations: { [ROLE]: 'shop-app', ...more }, containers: APP_CONTAINERS })
    await Promise.all(['federated/env', 'federated/nft'].map((pod) => cluster.pods.waitFor(pod, isReady)))
  })
  after(async () => {
    await cluster?.close()
  })

  for (const pod of ['federated/nft', 'federated/env'])
    test(`gives the AWS SDK in ${pod} its role through the metadata service, although the node may assume nothing`, async () => {
      const env = pod.endsWith('env') ? ['AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9169/'] : []
      const { arn, accessKeyId } = await whoami(cluster, pod, env)
      assert.equal(
        arn,
        `${APP.replace('iam', 'sts').replace('role/', 'assumed-role/')}/${pod.replace('/', '.')}`,
      )
      const [session] = await cluster.aws.sessions({ accessKeyId })
      assert.equal(session?.by, 'web-identity')
    })

  test('gives every other SDK the role in the same way', async () => {
    for (const [name, program] of Object.entries(PROGRAMS)) {
      if (program.needs.skip !== undefined) continue
      const { arn, error } = await startClient(cluster, 'federated/nft', program).answer()
      assert.match(arn ?? '', /:assumed-role\/shop-app\/federated\.nft$/, `${name}: ${error}`)
    }
  })

  test('makes calls without the node’s identity, and writes no token into a log', async () => {
    const calls = await cluster.aws.calls({ role: 'shop-app' })
    assert.deepEqual(
      [...new Set(calls.map(({ action, signed, caller }) => `${action} ${signed} ${caller}`))],
      [`AssumeRoleWithWebIdentity false ${SUBJECT}`],
    )
    assert.ok(!/eyJ[\w-]{20}/.test(await cluster.allLogs()))
  })

  test('gives the app neither of the tokens nor the node’s role, and a namespace that has not chosen it no role', async () => {
    const look = 'ls /var/run/secrets/pod2iam-web-identity /var/run/secrets/pod2iam'
    const { stdout, code } = await cluster.pods.exec('federated/nft', ['/bin/sh', '-c', look])
    assert.ok(code !== 0 && stdout === '', stdout)
    const { status } = await get(cluster, 'federated/nft', `http://${IPV4}${LIST}node`)
    assert.equal(status, 404)
    // A namespace that has not chosen it gets its roles through the node role, which may assume nothing.
    await cluster.pod('plain/app', { annotations: { [ROLE]: 'shop-app', 'pod2iam.dev/startup-gate': 'off' } })
    await cluster.pods.waitFor('plain/app', isReady)
    const refused = await until('a refusal', async () => {
      const answer = await get(cluster, 'plain/app', `http://${IPV4}${LIST}shop-app`)
      return answer.status === 200 ? answer : undefined
    })
    assert.match(refused.body, /AssumeRoleUnauthorizedAccess/)
  })

  test('cannot be chosen by a pod, and refuses an external id at apply', async () => {
    const annotations = { [ROLE]: 'shop-app', 'pod2iam.dev/redirect': 'env' }
    await assert.rejects(
      cluster.pod('federated/ext', {
        annotations: { ...annotations, 'iam.amazonaws.com/external-id': 'a:b' },
      }),
      /AssumeRoleWithWebIdentity\), which has no external id/,
    )
    await cluster.pod('plain/chooser', {
      annotations: {
        ...annotations,
        'pod2iam.dev/credential-source': 'web-identity',
        'pod2iam.dev/startup-gate': 'off',
      },
    })
    const pod = await cluster.kube.get('pods', 'chooser', 'plain')
    assert.ok(!JSON.stringify(pod.spec).includes('web-identity'))
  })

  test('keeps the credentials of pods during a restart of the broker, and works afterwards', async () => {
    const before = await credentials(cluster, 'federated/nft')
    const [namespace = '', name = ''] = (await cluster.guard()).split('/')
    await cluster.kube.delete('pods', name, namespace, { gracePeriodSeconds: 0 })
    assert.equal((await credentials(cluster, 'federated/nft')).AccessKeyId, before.AccessKeyId)
    await cluster.pods.waitFor(await cluster.guard(), isReady)
    await cluster.pod('federated/next', { annotations: { [ROLE]: 'shop-app' } })
    await cluster.pods.waitFor('federated/next', isReady)
    assert.match((await whoami(cluster, 'federated/next')).arn, /federated\.next$/)
  })
})
