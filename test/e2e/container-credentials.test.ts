/** Container credentials on a whole node: from the first instruction, for any user, with a real SDK, and only with the secret. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { ROLE, whoami } from './pods.ts'

const URI = 'http://127.0.0.1:9169/container-credentials'
const FILE = '/var/run/secrets/pod2iam-container/token'
/** Requests credentials as the first instruction, with the variables in its environment. */
const ASK =
  'curl -sf --max-time 1 -H "Authorization: $(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")" "$AWS_CONTAINER_CREDENTIALS_FULL_URI"'
const FIRST = ['sh', '-c', `${ASK} && exec sleep 3600`]
const LEAST = {
  ...{ runAsUser: 12_345, runAsGroup: 12_345, runAsNonRoot: true, readOnlyRootFilesystem: true },
  ...{ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
}

describe('a pod with container credentials', needsNamespaces(), () => {
  let cluster: Cluster
  before(async () => {
    cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['shop-*'] })
    const annotations = {
      [ROLE]: 'shop-orders',
      'pod2iam.dev/redirect': 'env',
      'pod2iam.dev/container-credentials': 'on',
    }
    const app = { name: 'app', image: 'registry.example/idle:1', command: FIRST, securityContext: LEAST }
    for (const name of ['shop/one', 'shop/other']) {
      const pod = await cluster.pod(name, { annotations, spec: { containers: [app] } })
      await cluster.pods.waitFor(pod, isReady)
    }
  })
  after(async () => {
    await cluster?.close()
  })

  const status = async (pod: string, ...options: string[]) => {
    const argv = ['curl', '-s', '--max-time', '5', '-o', '/dev/null', '-w', '%{http_code}', ...options, URI]
    return (await cluster.pods.exec(pod, argv)).stdout
  }
  const secretOf = async (pod: string) => (await cluster.pods.exec(pod, ['cat', FILE])).stdout

  test('has them at its first instruction, whatever user it runs as', async () => {
    await cluster.pods.waitForLog(
      'shop/one',
      'app',
      /"RoleArn":"arn:aws:iam::111111111111:role\/shop-orders"/,
    )
  })

  test('has the identity of its role with an SDK that may not use the metadata service', async () => {
    const { arn } = await whoami(cluster, 'shop/one', [
      'AWS_EC2_METADATA_DISABLED=true',
      `AWS_CONTAINER_CREDENTIALS_FULL_URI=${URI}`,
      `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=${FILE}`,
    ])
    assert.equal(arn, 'arn:aws:sts::111111111111:assumed-role/shop-orders/shop.one')
  })

  test('gives them only to requests with its own secret, which the application cannot write', async () => {
    const [own, others] = [await secretOf('shop/one'), await secretOf('shop/other')]
    assert.notEqual(own, others)
    assert.equal(await status('shop/one', '-H', `Authorization: ${own}`), '200')
    assert.equal(await status('shop/one'), '401')
    assert.equal(await status('shop/one', '-H', `Authorization: ${others}`), '401')
    assert.equal(
      await status('shop/one', '-H', `Authorization: ${own}`, '-H', 'Host: rebound.example'),
      '403',
    )
    const { code } = await cluster.pods.exec('shop/one', ['sh', '-c', `echo x >${FILE} || rm ${FILE}`])
    assert.notEqual(code, 0)
    assert.equal(await secretOf('shop/one'), own)
  })
})
