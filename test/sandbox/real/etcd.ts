/** Operations of tests on the store of a real API server. */
import type { KubeClient } from '../kube/client/kube-client.ts'
import type { ControlPlane } from './control-plane.ts'

/** Removes all former versions: from etcd, and from the API server's cache, which only a restart empties. */
export async function forgetHistory({ etcdUrl, restartApi }: ControlPlane, admin: KubeClient): Promise<void> {
  const { metadata } = await admin.list('namespaces')
  const response = await fetch(`${etcdUrl}/v3/kv/compaction`, {
    method: 'POST',
    body: JSON.stringify({ revision: metadata.resourceVersion, physical: true }),
    signal: AbortSignal.timeout(60_000),
  })
  if (!response.ok) throw new Error(`etcd does not compact: ${await response.text()}`)
  await restartApi()
}
