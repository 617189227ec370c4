/** The first and the last step of an installation: a guard that only counts, and one that removes its rules. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { credentials, get, IPV4, LIST, ROLE } from '../e2e/pods.ts'
import { createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { needsHelm, render } from './helm.ts'

const needs = needsHelm.skip === undefined ? needsNamespaces() : needsHelm

describe('guard.mode', needs, () => {
  test('audit blocks nothing, and annotated pods already have their credentials', async () => {
    const cluster = await createCluster({ rendered: render('sandbox', '--set=guard.mode=audit') })
    try {
      await cluster.role('orders')
      await cluster.namespace('shop', { allowed: ['orders'] })
      const pods = [
        cluster.pod('shop/app', { annotations: { [ROLE]: 'orders' } }),
        cluster.pod('default/old'),
      ]
      const [app = '', old = ''] = await Promise.all(pods)
      await Promise.all([app, old].map((pod) => cluster.pods.waitFor(pod, isReady)))
      assert.equal((await credentials(cluster, app)).Code, 'Success')
      // This pod still gets the node's role, which must end before the guard may enforce.
      assert.match((await get(cluster, old, `http://${IPV4}${LIST}`)).body, /^node$/)
    } finally {
      await cluster.close()
    }
  })

  test('remove leaves nothing on the node, and the node guard is ready', async () => {
    const cluster = await createCluster({ rendered: render('sandbox', '--set=guard.mode=remove') })
    try {
      const links = await cluster.exec('node', ['ip', '-oneline', 'link', 'show'])
      const tables = await cluster.exec('node', ['nft', 'list', 'tables'])
      assert.doesNotMatch(links.stdout + tables.stdout, /pod2iam/)
    } finally {
      await cluster.close()
    }
  })
})
