/** Roles of service accounts as users have them: a chart that annotates only its service account, and a real SDK in its pod. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { needsHelm, renderHere } from '../chart/helm.ts'
import { type Door, openDoor, run } from '../cli/support.ts'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import { get, IPV4, LIST, ROLE, whoami } from './pods.ts'

const KEY = 'eks.amazonaws.com/role-arn'
const LISTS = 'iam.amazonaws.com/allowed-roles'
const arnOf = (role: string) => `arn:aws:iam::111111111111:role/${role}`

describe('roles from service accounts', { ...needsHelm, ...needsNamespaces() }, () => {
  let cluster: Cluster
  let door: Door
  const account = (name: string, annotations: Record<string, string>, namespace = 'shop') =>
    cluster.kube.create({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name, namespace, annotations },
    } as KubeObject)
  const podAs = (name: string, serviceAccountName: string, annotations: Record<string, string> = {}) =>
    cluster.pod(name, {
      spec: { serviceAccountName },
      annotations: { 'pod2iam.dev/redirect': 'nft', 'pod2iam.dev/startup-gate': 'off', ...annotations },
    })

  before(async () => {
    // The webhooks and rights are those of the chart with the setting on.
    const rendered = renderHere('sandbox', '--set=policy.serviceAccountRoles=true')
    cluster = await createCluster({
      rendered,
      injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'],
    })
    await Promise.all(['shop-app', 'shop-other', 'admin'].map((role) => cluster.role(role)))
    await cluster.namespace('shop', { allowed: ['shop-*'] })
    await account('app', { [KEY]: arnOf('shop-app') })
    await podAs('shop/app', 'app')
    await cluster.pods.waitFor('shop/app', isReady)
    door = await openDoor(cluster.api)
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  test('the AWS SDK in a pod without an annotation gets the role of its service account', async () => {
    const { arn } = await whoami(cluster, 'shop/app')
    assert.equal(arn, 'arn:aws:sts::111111111111:assumed-role/shop-app/shop.app')
  })

  test('pod2iam shows where the role comes from, and what its trust policy and its namespace need', async () => {
    const ask = async (...words: string[]) => {
      const flags = ['--kubeconfig', await door.kubeconfig(), '-n', 'shop', '-o', 'json']
      const { stdout, stderr } = await run([...flags, ...words])
      assert.notEqual(stdout, '', stderr)
      return JSON.parse(stdout)
    }
    const [holder] = (await ask('who', 'app')).pods
    assert.deepEqual(
      [holder.role, holder.source, holder.refused],
      [arnOf('shop-app'), 'service-account', null],
    )
    const [{ steps, failed }] = (await ask('explain', 'app')).explanations
    assert.equal(failed, null)
    const said = (id: string) => steps.find((step: { id: string }) => step.id === id).detail
    assert.equal(said('asks'), `annotation ${KEY} of service account shop/app names ${arnOf('shop-app')}`)
    assert.match(said('injected'), /for the role that its service account named when it was created/)
    assert.match(said('entitled'), /asks STS for .*shop-app, as session shop\.app/)
    const { roles } = await ask('trust')
    assert.deepEqual(
      roles.map(({ role }: { role: string }) => role),
      [arnOf('shop-app')],
    )
    const { namespaces } = await ask('audit', '--suggest')
    assert.deepEqual([namespaces[0].namespace, namespaces[0].roles[0].allowed], ['shop', true])
  })

  test('a change of the service account affects only new pods', async () => {
    await cluster.kube.patch('serviceaccounts', 'app', 'shop', {
      metadata: { annotations: { [KEY]: arnOf('shop-other') } },
    })
    await podAs('shop/next', 'app')
    await cluster.pods.waitFor('shop/next', isReady)
    assert.match((await whoami(cluster, 'shop/next')).arn, /shop-other\/shop\.next$/)
    assert.match((await whoami(cluster, 'shop/app')).arn, /shop-app\/shop\.app$/)
  })

  test('a role that the namespace does not allow is refused at apply, and an account of that name in another namespace has no role', async () => {
    await account('greedy', { [KEY]: arnOf('admin') })
    await assert.rejects(podAs('shop/greedy', 'greedy'), /namespace shop may not use role .*admin/)
    await cluster.namespace('plain', { allowed: ['*'] })
    await account('greedy', {}, 'plain')
    await podAs('plain/app', 'greedy')
    await cluster.pods.waitFor('plain/app', isReady)
    const { spec } = await cluster.kube.get('pods', 'app', 'plain')
    assert.ok(!JSON.stringify(spec).includes('pod2iam'))
  })

  test('the list of the account narrows its pods, even annotated ones, at apply and while they run', async () => {
    await account('narrow', { [LISTS]: '["shop-other"]' })
    await assert.rejects(
      podAs('shop/narrow', 'narrow', { [ROLE]: 'shop-app' }),
      /service account shop\/narrow may not use role .*shop-app/,
    )
    await podAs('shop/narrow', 'narrow', { [ROLE]: 'shop-other' })
    await cluster.pods.waitFor('shop/narrow', isReady)
    await cluster.kube.patch('serviceaccounts', 'narrow', 'shop', {
      metadata: { annotations: { [LISTS]: '[]' } },
    })
    // The broker loses what it has read, and the sidecar asks again.
    cluster.pods.kill(await cluster.guard(), 'broker')
    cluster.pods.kill('shop/narrow', 'pod2iam-sidecar')
    const refused = await until('a refusal', async () => {
      const answer = await get(cluster, 'shop/narrow', `http://${IPV4}${LIST}shop-other`)
      return answer.body.includes('AssumeRoleUnauthorizedAccess') ? answer : undefined
    })
    assert.match(refused.body, /AssumeRoleUnauthorizedAccess/)
  })
})
