/**
 * What pods get with their service accounts and web identity, and that nobody gets anything with the tokens of others: of a
 * neighbour, of another namespace, of a deleted pod. The rights are the chart's own, and are compared with the API server's log.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { BROKER_ADDRESSES, BROKER_PORT, TOKEN_FILE, WEB_IDENTITY_TOKEN_FILE } from '../../common/addresses.ts'
import { CREDENTIALS_PATH, WEB_IDENTITY_HEADER } from '../../common/protocol.ts'
import { needsHelm, renderHere } from '../chart/helm.ts'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { isReady, type KubeObject, needsNamespaces, trustWebIdentity } from '../sandbox/index.ts'
import { INJECTOR, NODE_GUARD, SYSTEM_NAMESPACE } from '../sandbox/install.ts'
import { sinceKubernetes } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import { whoami } from './pods.ts'

const BROKER = `http://${BROKER_ADDRESSES[0]}:${BROKER_PORT}${CREDENTIALS_PATH}`
const AUDIENCE = 'sts.amazonaws.com'
const SUBJECT = 'system:serviceaccount:shop:orders'
const ACCOUNT_KEY = 'eks.amazonaws.com/role-arn'
const ORDERS = 'arn:aws:iam::111111111111:role/orders'
const SOURCE = { 'pod2iam.dev/credential-source': 'web-identity' }
const BY_ENV = { 'pod2iam.dev/redirect': 'env', 'pod2iam.dev/startup-gate': 'off' }
const ENDPOINT = ['AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9169/']
const SIDECAR = 'pod2iam-sidecar'

type Tokens = { readonly own: string; readonly web: string }

describe('with service account roles and web identity,', { ...needsHelm, ...needsNamespaces() }, () => {
  let cluster: Cluster
  let victim: Tokens

  const account = (name: string, namespace: string, annotations: Record<string, string> = {}) =>
    cluster.kube.create({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name, namespace, annotations },
    } as KubeObject)
  const podAs = async (
    name: string,
    serviceAccountName: string,
    annotations: Record<string, string> = {},
  ) => {
    await cluster.pod(name, { annotations: { ...BY_ENV, ...annotations }, spec: { serviceAccountName } })
    await cluster.pods.waitFor(name, isReady)
  }
  /** The tokens as an attacker has them who has taken over the sidecar or the node. */
  const tokensOf = async (pod: string): Promise<Tokens> => {
    const read = async (file: string) =>
      (await cluster.pods.exec(pod, ['cat', file], { container: SIDECAR })).stdout
    return { own: await read(TOKEN_FILE), web: await read(WEB_IDENTITY_TOKEN_FILE) }
  }
  /** The broker's answer to a pod that sends these tokens. */
  const asked = async (pod: string, { own, web }: Partial<Tokens>): Promise<string> => {
    const headers = [
      ...(own === undefined ? [] : ['-H', `Authorization: Bearer ${own}`]),
      ...(web === undefined ? [] : ['-H', `${WEB_IDENTITY_HEADER}: ${web}`]),
    ]
    const { stdout } = await cluster.pods.exec(pod, ['curl', '-s', '--max-time', '20', ...headers, BROKER])
    const { Code, code } = JSON.parse(stdout)
    return Code ?? code
  }

  before(async () => {
    const rendered = renderHere(
      'sandbox',
      '--set=policy.serviceAccountRoles=true',
      '--set=broker.credentialSources={node-role,web-identity}',
    )
    cluster = await createCluster({
      rendered,
      injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'],
      brokerArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'],
    })
    const { aws, api } = cluster
    const { body } = await api.admin.request('GET', '/openid/v1/jwks')
    const provider = await aws.putOidcProvider({
      issuer: api.issuer,
      clientIds: [AUDIENCE],
      keys: { jwks: JSON.parse(body) },
    })
    await aws.putRole({ arn: 'orders', trustPolicy: trustWebIdentity({ provider, subject: SUBJECT }) })
    await aws.setNodePolicy([])
    for (const name of ['shop', 'billing']) {
      await cluster.namespace(name, { allowed: ['orders'], annotations: SOURCE })
      await account('orders', name, { [ACCOUNT_KEY]: ORDERS })
    }
    await Promise.all(['shop/victim', 'shop/thief'].map((name) => podAs(name, 'orders')))
    victim = await tokensOf('shop/victim')
  })
  after(async () => {
    await cluster?.close()
  })

  test('a pod without an annotation gets the role of its service account with a token that the API server signed for this pod and for AWS', async () => {
    const { arn } = await whoami(cluster, 'shop/victim', ENDPOINT)
    assert.equal(arn, 'arn:aws:sts::111111111111:assumed-role/orders/shop.victim')
    const { api, kube } = cluster
    const { body } = await api.admin.request('GET', '/openid/v1/jwks')
    const { payload } = await jwtVerify(victim.web, createLocalJWKSet(JSON.parse(body)), {
      issuer: api.issuer,
      audience: AUDIENCE,
      subject: SUBJECT,
    })
    const { metadata } = await kube.get('pods', 'victim', 'shop')
    const claims = payload['kubernetes.io'] as { readonly pod: unknown }
    assert.deepEqual([payload.aud, claims.pod], [[AUDIENCE], { name: 'victim', uid: metadata.uid }])
    assert.notEqual(victim.own, victim.web)
  })

  test('the broker refuses one or both tokens of a neighbour, and accepts each pod’s own ones', async () => {
    const thief = await tokensOf('shop/thief')
    for (const [tokens, code] of [
      [{ web: victim.web }, 'token-missing'],
      [{ own: victim.web }, 'token-invalid'],
      [{ own: victim.web, web: victim.web }, 'token-invalid'],
      [{ own: thief.own, web: victim.web }, 'token-invalid'],
      [{ own: thief.own, web: victim.own }, 'token-invalid'],
      [{ own: thief.own }, 'token-missing'],
      [victim, 'peer-address-mismatch'],
    ] as const)
      assert.equal(await asked('shop/thief', tokens), code)
    assert.equal(await asked('shop/thief', thief), 'Success')
    assert.equal(await asked('shop/victim', victim), 'Success')
  })

  test('the role does not trust a service account of the same name in another namespace', async () => {
    await podAs('billing/orders', 'orders')
    const foreign = await tokensOf('billing/orders')
    assert.equal(await asked('billing/orders', foreign), 'sts-denied')
    assert.equal(await asked('billing/orders', { ...foreign, web: victim.web }), 'token-invalid')
    const [call] = await cluster.aws.calls({ session: 'billing.orders' })
    assert.deepEqual([call?.action, call?.outcome], ['AssumeRoleWithWebIdentity', 'AccessDenied'])
  })

  test('the tokens of a deleted pod are refused, even from another pod of its name', async () => {
    await podAs('shop/short', 'orders')
    const replayed = await tokensOf('shop/short')
    assert.equal(await asked('shop/short', replayed), 'Success')
    await cluster.kube.delete('pods', 'short', 'shop', { gracePeriodSeconds: 0 })
    await until('the broker to know that the pod is deleted', async () => {
      const code = await asked('shop/thief', replayed)
      assert.notEqual(code, 'Success')
      return code === 'pod-unknown'
    })
    await until(
      'its name is free',
      async () => (await cluster.kube.find('pods', 'short', 'shop')) === undefined,
    )
    await podAs('shop/short', 'orders')
    assert.equal(await asked('shop/short', replayed), 'pod-unknown')
    assert.equal(
      await asked('shop/short', { ...(await tokensOf('shop/short')), web: replayed.web }),
      'token-invalid',
    )
  })

  test(
    'no container that is added later can mount the secret of container credentials',
    sinceKubernetes(30, 'ValidatingAdmissionPolicy'),
    async () => {
      const app = { name: 'app', image: IDLE_IMAGE }
      await cluster.pod('shop/contained', {
        annotations: { ...BY_ENV, 'pod2iam.dev/container-credentials': 'on' },
        spec: { serviceAccountName: 'orders', containers: [app] },
      })
      await cluster.pods.waitFor('shop/contained', isReady)
      type Mounts = KubeObject & {
        spec: {
          containers: { env: { name: string }[]; volumeMounts: { name: string; readOnly?: boolean }[] }[]
        }
      }
      const { spec } = await cluster.kube.get<Mounts>('pods', 'contained', 'shop')
      const mount = spec.containers[0]?.volumeMounts.find(({ name }) => name.startsWith('pod2iam-'))
      assert.equal(mount?.readOnly, true, JSON.stringify(spec.containers[0]))
      const names = spec.containers[0]?.env.map(({ name }) => name) ?? []
      assert.ok(names.includes('AWS_CONTAINER_CREDENTIALS_FULL_URI'), names.join())
      const added = { name: 'debugger', image: IDLE_IMAGE, volumeMounts: [mount] }
      await assert.rejects(
        cluster.kube.patch(
          'pods',
          'contained',
          'shop',
          { spec: { ephemeralContainers: [added] } },
          { subresource: 'ephemeralcontainers' },
        ),
        /volumes pod2iam-\* are the injector's/,
      )
      // A pod cannot have its own volume of that name either.
      const stranger = { name: mount?.name, emptyDir: {} }
      await assert.rejects(
        cluster.pod('shop/stranger', {
          annotations: BY_ENV,
          spec: { serviceAccountName: 'orders', volumes: [stranger] },
        }),
        /pod2iam-/,
      )
    },
  )

  test('no component makes a request that its rights forbid, and service accounts are only read by name', async () => {
    const calls = await cluster.api.calls()
    for (const name of [INJECTOR, NODE_GUARD]) {
      const user = `system:serviceaccount:${SYSTEM_NAMESPACE}:${name}`
      const own = calls.filter((call) => call.user === user && call.resource !== '')
      assert.deepEqual(
        own.filter(({ allowed }) => !allowed),
        [],
      )
      // With a real API server, a pod is created repeatedly until the webhooks are reached (PatientClient).
      const accounts = own.filter(
        (call) => call.resource === 'serviceaccounts' && call.namespace !== 'webhook-probe',
      )
      const asked = accounts.map((call) => `${call.verb} ${call.namespace}/${call.name} ${call.subresource}`)
      assert.deepEqual([...new Set(asked)].sort(), ['get billing/orders ', 'get shop/orders '], name)
    }
  })
})
