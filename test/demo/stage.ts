/** The stage of the story: a cluster, its IAM roles, and short forms of what the steps do repeatedly. */
import { fileURLToPath } from 'node:url'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, type KubeObject, type Pod } from '../sandbox/index.ts'
import type { ExecResult } from '../sandbox/node/process.ts'
import { until } from '../support/until.ts'

export const PROJECT = fileURLToPath(new URL('../../', import.meta.url))
export const DATADOG_ROLE = 'arn:aws:iam::111111111111:role/datadog-agent.services.kops.domain.com'
export const REPORTS_ROLE = 'arn:aws:iam::222222222222:role/reports-reader'
export const NODE_ROLE = 'arn:aws:iam::222222222222:role/nodes.kops.domain.com'
export const CREDENTIALS_URL = 'http://169.254.169.254/latest/meta-data/iam/security-credentials/'

export type Stage = Cluster & {
  /** Runs a command in a pod's first app container. */
  readonly inPod: (pod: string, ...argv: string[]) => Promise<ExecResult>
}

/**
 * Starts the demo's cluster: nodes in account 222222222222, the Datadog agent's role in another.
 *
 * @param webIdentity whether namespaces may choose it as their credential source
 */
export async function openStage(webIdentity: boolean): Promise<Stage> {
  const sources = webIdentity ? ['--credential-sources=node-role,web-identity'] : []
  const bin = `${PROJECT}test/demo/bin`
  const cluster = await createCluster({
    aws: { account: '222222222222', nodeRoleArn: NODE_ROLE },
    injectorArgs: ['--base-role-arn=arn:aws:iam::222222222222:role/', ...sources],
    brokerArgs: sources,
    images: {
      'gcr.io/datadoghq/agent:7': {
        command: [],
        env: { PATH: `${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` },
      },
    },
  })
  return { ...cluster, inPod: (pod, ...argv) => cluster.pods.exec(pod, argv) }
}

/** The DaemonSet's pod, once it is ready, as `namespace/name`. */
export async function daemonSetPod({ kube, pods }: Cluster, namespace: string, label: string) {
  const pod = await until(`a pod with ${label} in ${namespace}`, async () => {
    const { items } = await kube.list<KubeObject & Pod>('pods', { namespace, labelSelector: label })
    return items[0]
  })
  const name = `${namespace}/${pod.metadata.name}`
  await pods.waitFor(name, isReady)
  return name
}

/** The access key id in a credential document, or undefined if the text is none. */
export function accessKeyOf(document: string): string | undefined {
  return /"AccessKeyId"\s*:\s*"([A-Z0-9]+)"/.exec(document)?.[1]
}
