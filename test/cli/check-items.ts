/** Helpers that the tests of `check` share. */
import assert from 'node:assert/strict'
import { run } from './support.ts'

type Item = { id: string; state: string; code?: string; detail: string; remedy?: string }

export async function items(kubeconfig: string): Promise<{ code: number | null; of: Record<string, Item> }> {
  const { code, stdout, stderr } = await run(['--kubeconfig', kubeconfig, 'check', '-o', 'json'])
  assert.notEqual(stdout, '', stderr)
  const { items } = JSON.parse(stdout) as { items: Item[] }
  return { code, of: Object.fromEntries(items.map((one) => [one.id, one])) }
}

/** A DaemonSet that no node runs. */
export const daemonSet = (namespace: string, name: string, container: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name, namespace },
  spec: {
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      // No node has this label.
      spec: { nodeSelector: { nowhere: 'at-all' }, containers: [{ name, image: `${name}:1`, ...container }] },
    },
  },
})
