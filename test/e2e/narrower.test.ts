/** Sessions with session policies, tags and a source identity, as users have them: the AWS SDK in pods of one role, with an AWS that evaluates their rights. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { ADDRESSES, isReady, needsNamespaces, trust } from '../sandbox/index.ts'
import { ROLE } from './pods.ts'

const POLICIES = 'iam.amazonaws.com/session-policy-arns'
const BASE = 'arn:aws:iam::111111111111:role/'
const READER = 'arn:aws:iam::111111111111:policy/assume-reader'
const NOTHING = 'arn:aws:iam::aws:policy/nothing'
/** The role of the pods may, by its own policies, assume these roles. */
const TARGETS = ['reader', 'writer'] as const
const PROGRAM = fileURLToPath(new URL('./assume.ts', import.meta.url))

describe('narrower sessions', needsNamespaces(), () => {
  let cluster: Cluster

  before(async () => {
    cluster = await createCluster({
      injectorArgs: [`--base-role-arn=${BASE}`],
      brokerArgs: [
        ...['--session-tags', '--cluster-arn=arn:aws:eks:eu-west-1:111111111111:cluster/prod'],
        ...['--extra-session-tags=team=platform', '--source-identity={namespace}.{service-account}'],
      ],
    })
    const { aws } = cluster
    await aws.putManagedPolicy({
      arn: READER,
      statements: [{ Effect: 'Allow', Action: 'sts:*', Resource: `${BASE}reader` }],
    })
    await aws.putManagedPolicy({ arn: NOTHING, statements: [] })
    await aws.putRole({
      arn: 'shop-app',
      trustPolicy: trust({
        principal: aws.config.nodeRoleArn,
        sourceIdentity: 'shop.*',
        tags: { 'eks-cluster-arn': '*:cluster/prod', team: 'platform', 'kubernetes-namespace': 'shop' },
      }),
      policy: [{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }],
    })
    // The source identity is kept in a role chain, so the next roles must allow it, too.
    const next = trust({ principal: `${BASE}shop-app`, sourceIdentity: 'shop.default' })
    for (const arn of TARGETS) await aws.putRole({ arn, trustPolicy: next })
    for (const name of ['shop', 'other']) await cluster.namespace(name, { allowed: ['shop-*'] })
    const annotations = { [ROLE]: 'shop-app', 'pod2iam.dev/redirect': 'env' }
    for (const [name, policies] of [
      ['shop/whole', undefined],
      ['shop/reader', [READER]],
      ['shop/nothing', [NOTHING]],
    ] as const)
      await cluster.pod(name, {
        annotations: {
          ...annotations,
          ...(policies === undefined ? {} : { [POLICIES]: JSON.stringify(policies) }),
        },
      })
    await Promise.all(
      ['shop/whole', 'shop/reader', 'shop/nothing'].map((pod) => cluster.pods.waitFor(pod, isReady)),
    )
  })
  after(async () => {
    await cluster?.close()
  })

  for (const [pod, answers] of [
    ['shop/whole', 'yes,yes'],
    ['shop/reader', 'yes,AccessDenied'],
    ['shop/nothing', 'AccessDenied,AccessDenied'],
  ] as const)
    test(`give the AWS SDK in ${pod}, one of three pods of a role, the rights that its session policies leave`, async () => {
      const env = [
        'AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9169/',
        `AWS_ENDPOINT_URL_STS=http://${ADDRESSES.vpc[0]}`,
      ]
      const node = [process.execPath, PROGRAM, ...TARGETS.map((name) => BASE + name)]
      const { stdout, stderr } = await cluster.pods.exec(pod, ['env', ...env, ...node])
      assert.equal(stdout, answers, stderr)
    })

  test('have what the trust policy demands: tags of the pod, the cluster and the operator, and the source identity', async () => {
    const [call] = await cluster.aws.calls({ session: 'shop.reader' })
    assert.deepEqual([call?.sourceIdentity, call?.policyArns], ['shop.default', [READER]])
    assert.deepEqual(Object.keys(call?.tags ?? {}).sort(), [
      ...['eks-cluster-arn', 'eks-cluster-name', 'kubernetes-namespace', 'kubernetes-pod-name'],
      ...['kubernetes-pod-uid', 'kubernetes-service-account', 'team'],
    ])
  })

  test('are denied to a pod of another namespace by the trust policy, although its namespace allows the role', async () => {
    const annotations = {
      [ROLE]: 'shop-app',
      'pod2iam.dev/startup-gate': 'off',
      'pod2iam.dev/redirect': 'env',
    }
    await cluster.pod('other/app', { annotations })
    await cluster.pods.waitFor('other/app', isReady)
    const [call] = await cluster.aws.calls({ session: 'other.app' })
    assert.equal(call?.outcome, 'AccessDenied')
  })

  test('have session policies that are refused at apply if they are invalid, and cannot be changed afterwards', async () => {
    const refused = (text: string) =>
      cluster.pod('shop/wrong', { annotations: { [ROLE]: 'shop-app', [POLICIES]: text } })
    await assert.rejects(refused(READER), /must be a JSON array of managed policy ARNs/)
    await assert.rejects(refused('["arn:aws:iam::222222222222:policy/x"]'), /neither in the account of role/)
    for (const value of [null, JSON.stringify([READER])]) {
      const metadata = { annotations: { [POLICIES]: value } }
      await assert.rejects(
        cluster.kube.patch('pods', 'nothing', 'shop', { metadata }, { type: 'merge' }),
        /annotation iam\.amazonaws\.com\/session-policy-arns of a pod cannot be changed/,
      )
    }
  })
})
