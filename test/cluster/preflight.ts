/** Checks, before anything is created in a cluster, whether the test can run in it. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import type { ClusterAccess } from './access/access.ts'
import type { Options } from './options.ts'
import { GUARD, INJECTOR } from './rollout.ts'

const LEAST_MINOR = 29

export type Ground = {
  readonly version: string
  readonly onEc2: boolean
  /** Nodes are kind's containers: what is routed in one of them reaches nothing else. */
  readonly onKind: boolean
  readonly region: string
}

/** @throws Error with a sentence that says what to do */
export async function preflight({ kube }: ClusterAccess, options: Options): Promise<Ground> {
  const { major, minor, gitVersion } = await kube.raw<Record<string, string>>('/version')
  if (Number(major) === 1 && Number.parseInt(minor ?? '', 10) < LEAST_MINOR)
    throw new Error(`this is Kubernetes ${gitVersion}; pod2iam needs 1.29 or newer, for native sidecars`)
  const found = await kube.find('mutatingwebhookconfigurations', INJECTOR)
  const guards = await kube.list('daemonsets', { labelSelector: 'app.kubernetes.io/component=node-guard' })
  const there = found !== undefined || guards.items.some(({ metadata }) => metadata.name === GUARD)
  if (there && !options.installed)
    throw new Error(
      'pod2iam is installed in this cluster already. Pass --installed to test that one, or --clean to remove what an earlier run left',
    )
  if (!there && options.installed)
    throw new Error('pod2iam is not installed in this cluster; leave --installed out')
  if (!options.installed && (await kube.find('namespaces', options.namespace)) !== undefined)
    throw new Error(`the namespace ${options.namespace} exists already; pass another one with --namespace`)
  type Node = KubeObject & { spec?: { providerID?: string } }
  const { items: nodes } = await kube.list<Node>('nodes')
  const regions = nodes.map(({ metadata }) => metadata.labels?.['topology.kubernetes.io/region'])
  const allFrom = (provider: string) =>
    nodes.length > 0 && nodes.every(({ spec }) => spec?.providerID?.startsWith(provider) === true)
  return {
    version: gitVersion ?? '',
    onEc2: allFrom('aws:///'),
    onKind: allFrom('kind://'),
    region: regions.find((region) => region !== undefined) ?? process.env.AWS_REGION ?? '',
  }
}

/** Decides which AWS the test uses. @throws Error with a sentence when the options do not fit the cluster */
export function chooseAws(options: Options, { onEc2, region }: Ground): 'real' | 'stand-in' {
  const chosen = options.aws === 'auto' ? (onEc2 ? 'real' : 'stand-in') : options.aws
  if (chosen === 'stand-in' && options.installed)
    throw new Error('--installed needs --aws=real: the installed broker speaks to the AWS it was given')
  if (chosen === 'real' && options.role === undefined)
    throw new Error('with real AWS pass --role ARN, a role that trusts the role of the nodes')
  if (chosen === 'real' && region === '') throw new Error('the nodes have no region label; set AWS_REGION')
  return chosen
}
