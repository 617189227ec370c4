import { readAccount } from '../cluster/accounts.ts'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { findInstallation, type Installation } from '../cluster/installation.ts'
import { type ClusterOptions, openCluster } from '../cluster/kubeconfig.ts'
import { readPod } from '../cluster/pods.ts'
import { parseTarget, readWorkload, type Target, WORKLOADS } from '../cluster/workloads.ts'
import { CliError } from '../failure.ts'
import type { Outcome } from '../outcome.ts'
import { refusalsText } from '../output/refusals.ts'
import { settingsOfFlags } from '../product/injector.ts'
import { documentOf, type Explanation, exitOf, explanationText } from './explanation.ts'
import { explainFile, hasAllNamespaces, type Manifest, readManifest } from './file.ts'
import { explainLive, NO_INJECTOR, readNamespace } from './live.ts'
import { explainWorkload } from './workload.ts'

export type ExplainOptions = ClusterOptions & {
  readonly filename?: string
  /** Flags of the injector, which are used to judge a file instead of those in the cluster. */
  readonly injectorFlag: readonly string[]
}

/** `explain POD`, `explain KIND/NAME`, `explain -f FILE`. */
export async function explain(target: string | undefined, options: ExplainOptions): Promise<Outcome> {
  if ((target === undefined) === (options.filename === undefined))
    throw new CliError(
      'usage',
      target === undefined
        ? 'there is nothing to explain'
        : 'a pod and a file cannot be given at the same time',
      'pod2iam explain POD, pod2iam explain deployment/NAME, or pod2iam explain -f FILE',
    )
  if (options.filename !== undefined) return explainManifest(await readManifest(options.filename), options)
  const cluster = openCluster(options)
  const explanation = await explainTarget(cluster, parseTarget(target ?? ''))
  return outcome([explanation], cluster)
}

async function explainTarget(cluster: Cluster, { kind, name }: Target): Promise<Explanation> {
  const { namespace } = cluster
  const installation = await findInstallation(cluster)
  if (kind === undefined || kind === 'Pod') {
    const pod = await readPod(cluster, namespace, name)
    if (pod.kind === 'found') return explainLive(cluster, installation, pod.value)
    if (pod.kind === 'forbidden')
      throw new CliError(
        'forbidden',
        `you may not get pods in namespace ${namespace}`,
        'ask for that permission, or name another namespace with -n',
      )
  }
  const kinds = kind === undefined ? WORKLOADS : kind === 'Pod' ? [] : [kind]
  for (const one of kinds) {
    const workload = await readWorkload(cluster, one, namespace, name)
    if (workload.kind === 'found') return explainWorkload(cluster, installation, workload.value, namespace)
  }
  throw new CliError(
    'not-found',
    `there is no ${kind?.toLowerCase() ?? 'pod or workload'} ${name} in namespace ${namespace}`,
    'pod2iam who lists the pods with their namespaces, and -n selects another one; a pod that admission refuses does not exist: explain its workload instead, for example deployment/NAME',
  )
}

async function explainManifest(manifest: Manifest, options: ExplainOptions): Promise<Outcome> {
  const given = settingsOfFlags(options.injectorFlag)
  if (!given.ok)
    throw new CliError('usage', `--injector-flag: ${given.detail}`, 'name a flag of the injector')
  // A file that contains its namespaces needs no cluster, so it does not matter if the cluster cannot be reached.
  const isAlone = hasAllNamespaces(manifest, options.namespace ?? 'default')
  const found = await clusterFor(options, isAlone)
  const seen = found?.installation
  const isByFlags = options.injectorFlag.length > 0
  const explanations = await explainFile(manifest, {
    settings: isByFlags ? given.settings : (seen?.injection ?? given.settings),
    untouched: seen?.untouched ?? [],
    namespace: options.namespace ?? found?.cluster.namespace ?? 'default',
    accounts: async (namespace, name) => found && foundIn(await readAccount(found.cluster, namespace, name)),
    source: async (name) => (found === undefined ? undefined : readNamespace(found.cluster, name)),
    notes: isByFlags || seen?.injection !== undefined ? [] : [NO_INJECTOR],
  })
  if (explanations.length === 0)
    throw new CliError(
      'nothing-to-explain',
      `${manifest.name} contains neither a pod nor a workload`,
      'name a file with a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob',
    )
  return outcome(explanations, found?.cluster)
}

async function clusterFor(
  options: ExplainOptions,
  isOptional: boolean,
): Promise<{ readonly cluster: Cluster; readonly installation: Installation } | undefined> {
  try {
    const cluster = openCluster(options)
    return { cluster, installation: await findInstallation(cluster) }
  } catch (error) {
    if (isOptional && error instanceof CliError) return undefined
    throw error
  }
}

function outcome(explanations: readonly Explanation[], cluster: Cluster | undefined): Outcome {
  const refused = cluster?.refusals() ?? []
  const documents = explanations.map(documentOf)
  return {
    data: { explanations: documents, refused },
    text: (page) =>
      explanations.map((one) => explanationText(one, page)).join('\n') + refusalsText(refused, page),
    exit: exitOf(explanations),
  }
}
