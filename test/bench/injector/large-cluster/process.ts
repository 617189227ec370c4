/** A large cluster's API server as a process of its own, so that its cost is not measured with the injector's. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { authority } from '../../../injector/certificates.ts'

export type ClusterSize = {
  /** Pods with a sidecar, pods without, and changes per second. */
  readonly injected: number
  readonly others: number
  readonly updates: number
  /** Namespaces that are opted in. */
  readonly optedIn: number
  /** Whether the gates of all pods wait, as after an outage. */
  readonly areWaiting?: boolean
}

export type ClusterSettings = ClusterSize & {
  readonly cert: string
  readonly key: string
  /** Labels and annotations of every namespace. */
  readonly namespace: object
}

export type ClusterState = {
  /** Bytes of pods that were sent, as JSON. */
  bytes: number
  /** Lists of pods that were begun, and those in progress. */
  lists: number
  listing: number
  /** Open watches of pods. */
  watches: number
  changes: number
  requests: number
}

export type LargeCluster = {
  readonly kubeconfig: string
  readonly state: () => ClusterState
  readonly end: () => Promise<void>
}

export async function largeCluster(size: ClusterSize, namespace: object): Promise<LargeCluster> {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-cluster-'))
  const ca = await authority()
  const settings: ClusterSettings = { ...size, ...(await ca.leaf()), namespace }
  const child = fork(join(import.meta.dirname, 'server.ts'), [JSON.stringify(settings)], { execArgv: [] })
  const [first] = await once(child, 'message')
  let state: ClusterState = first
  child.on('message', (message: ClusterState) => {
    state = message
  })
  const kubeconfig = join(directory, 'kubeconfig')
  const cluster = {
    server: `https://127.0.0.1:${first.port}`,
    'certificate-authority-data': Buffer.from(ca.pem).toString('base64'),
  }
  const context = { cluster: 'bench', user: 'bench' }
  await writeFile(
    kubeconfig,
    JSON.stringify({
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'bench' },
      clusters: [{ name: 'bench', cluster }],
      users: [{ name: 'bench', user: { token: 'bench' } }],
      contexts: [{ name: 'bench', context }],
    }),
  )
  const end = async () => {
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    await rm(directory, { recursive: true, force: true })
  }
  return { kubeconfig, state: () => state, end }
}
