/** What a cluster must provide, whether pod2iam is installed in it or not. */
import type { V1DaemonSet, V1Deployment, V1Node } from '@kubernetes/client-node'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { type Installation, SYSTEM_NAMESPACE } from '../cluster/installation.ts'
import { type Check, type Finding, failed, notChecked, ok, warning } from '../explain/step.ts'

/** The same as in charts/pod2iam/Chart.yaml: native sidecars are on by default from this version on. */
const LEAST_MINOR = 29
/** From this version on, the API server itself enforces some rules. */
const POLICIES_MINOR = 30

const ENFORCE = 'pod-security.kubernetes.io/enforce'

type Workload = V1DaemonSet | V1Deployment

/** What runs in the cluster, as far as it is relevant here. */
export type ClusterState = {
  readonly daemonSets: readonly V1DaemonSet[] | undefined
  readonly deployments: readonly V1Deployment[] | undefined
  readonly nodes: readonly V1Node[] | undefined
}

export async function readClusterState({ askAll, apps, core }: Cluster): Promise<ClusterState> {
  const [daemonSets, deployments, nodes] = await Promise.all([
    askAll({ verb: 'list', resource: 'daemonsets.apps' }, (query, options) =>
      apps.listDaemonSetForAllNamespaces(query, options),
    ),
    askAll({ verb: 'list', resource: 'deployments.apps' }, (query, options) =>
      apps.listDeploymentForAllNamespaces(query, options),
    ),
    askAll({ verb: 'list', resource: 'nodes' }, (query, options) => core.listNode(query, options)),
  ])
  return { daemonSets: foundIn(daemonSets), deployments: foundIn(deployments), nodes: foundIn(nodes) }
}

/** Used before there are guards that report it. */
const IMDS_UNKNOWN: Check = {
  id: 'imds',
  title: 'IMDSv2, hop limit',
  look: () =>
    warning(
      'imds-unknown',
      'require IMDSv2 with a hop limit of 1 on all nodes; to see their current options: aws ec2 describe-instances --query Reservations[].Instances[].[InstanceId,MetadataOptions]',
    ),
}

export function clusterChecks(cluster: Cluster, installation: Installation, around: ClusterState): Check[] {
  return [
    { id: 'kubernetes', title: 'Kubernetes', look: () => kubernetes(cluster) },
    { id: 'nodes', title: 'nodes', look: () => nodesFinding(around) },
    { id: 'pod-security', title: 'PodSecurity', look: () => podSecurity(cluster, installation) },
    { id: 'network', title: 'network', look: () => network(cluster, around) },
    ...(installation.namespace === undefined ? [IMDS_UNKNOWN] : []),
    { id: 'other-tools', title: 'kube2iam, kiam', look: () => otherTools(around, installation) },
  ]
}

async function kubernetes({ ask, version }: Cluster): Promise<Finding> {
  const answer = await ask({ verb: 'get', resource: '/version' }, (options) => version.getCode({}, options))
  if (answer.kind !== 'found') return notChecked('the API server does not report its version')
  const { gitVersion, major, minor } = answer.value
  const number = Number(minor.replace(/\D.*$/, ''))
  if (major === '1' && number < LEAST_MINOR)
    return failed(
      'kubernetes-too-old',
      `it is ${gitVersion}, and native sidecars need 1.${LEAST_MINOR} or newer`,
      `upgrade the control plane and the nodes to 1.${LEAST_MINOR} or newer`,
    )
  if (major === '1' && number < POLICIES_MINOR)
    return warning(
      'no-admission-policies',
      `it is ${gitVersion}: before 1.${POLICIES_MINOR} the rules that protect sidecars are enforced only while an injector runs`,
    )
  return ok(gitVersion)
}

function nodesFinding({ nodes }: ClusterState): Finding {
  if (nodes === undefined) return notChecked('you may not list nodes')
  const of = (key: string, value: string) =>
    nodes.filter(({ metadata }) => metadata?.labels?.[key] === value).length
  const windows = of('kubernetes.io/os', 'windows')
  const fargate = of('eks.amazonaws.com/compute-type', 'fargate')
  const linux = nodes.length - windows - fargate
  if (linux === 0)
    return failed(
      'no-linux-nodes',
      'no node runs Linux on EC2',
      'add a node group with such nodes, because the node guard needs them',
    )
  if (windows + fargate === 0) return ok(`${linux} with Linux`)
  return warning(
    'nodes-without-injection',
    `${linux} with Linux; pods on ${windows} Windows and ${fargate} Fargate nodes cannot have a sidecar: use IRSA there`,
  )
}

async function podSecurity({ ask, core }: Cluster, { namespace }: Installation): Promise<Finding> {
  const name = namespace ?? SYSTEM_NAMESPACE
  const answer = await ask({ verb: 'get', resource: 'namespaces', namespace: name }, (options) =>
    core.readNamespace({ name }, options),
  )
  if (answer.kind === 'forbidden') return notChecked(`you may not read namespace ${name}`)
  if (answer.kind === 'absent')
    return warning(
      'namespace-missing',
      `there is no namespace ${name} yet: create it with label ${ENFORCE}=privileged, because the guard runs on the host network (docs/install.md)`,
    )
  const level = answer.value.metadata?.labels?.[ENFORCE]
  if (level === 'privileged') return ok(`namespace ${name} admits the node guard`)
  if (level === undefined)
    return warning(
      'pod-security-unlabelled',
      `namespace ${name} has no label ${ENFORCE}: if the cluster's default is stricter, the node guard is refused; kubectl label namespace ${name} ${ENFORCE}=privileged`,
    )
  return failed(
    'pod-security',
    `namespace ${name} enforces PodSecurity ${level}, which refuses the node guard (host network, NET_ADMIN)`,
    `kubectl label --overwrite namespace ${name} ${ENFORCE}=privileged`,
  )
}

/** Network plugins are recognised by their DaemonSets. */
const PLUGINS: readonly { readonly name: RegExp; readonly called: string }[] = [
  { name: /^aws-node$/, called: 'AWS VPC CNI' },
  { name: /^(?:kube-)?flannel(?:-ds)?$/, called: 'flannel' },
  { name: /^kube-router$/, called: 'kube-router' },
  { name: /^calico-node$/, called: 'Calico' },
  { name: /^cilium$/, called: 'Cilium' },
]

async function network(cluster: Cluster, { daemonSets }: ClusterState): Promise<Finding> {
  if (daemonSets === undefined) return notChecked('you may not list DaemonSets')
  const found = PLUGINS.flatMap(({ name, called }) => {
    const one = daemonSets.find(({ metadata }) => name.test(metadata?.name ?? ''))
    return one === undefined ? [] : [{ called, one }]
  })
  const cilium = found.find(({ called }) => called === 'Cilium')
  if (cilium !== undefined) return ciliumFinding(cluster, cilium.one.metadata?.namespace ?? 'kube-system')
  const calico = found.find(({ called }) => called === 'Calico')
  if (calico !== undefined && hasEnv(calico.one, 'FELIX_BPFENABLED', 'true'))
    return failed(
      'dataplane-bypass',
      "Calico's eBPF dataplane is on, so packets of pods bypass netfilter and with it the block",
      "use Calico's iptables or nftables dataplane",
    )
  if (found.length === 0)
    return warning(
      'network-unknown',
      'no network plugin was recognised: packets of pods must pass through netfilter on their node (docs/install.md)',
    )
  return ok(
    `${found.map(({ called }) => called).join(' and ')}: packets of pods pass through netfilter on their node`,
  )
}

async function ciliumFinding({ ask, core }: Cluster, namespace: string): Promise<Finding> {
  const config = await ask({ verb: 'get', resource: 'configmaps', namespace }, (options) =>
    core.readNamespacedConfigMap({ namespace, name: 'cilium-config' }, options),
  )
  const data = foundIn(config)?.data ?? {}
  if (data['enable-host-legacy-routing'] === 'true')
    return ok('Cilium, with legacy host routing: packets of pods pass through netfilter on their node')
  return warning(
    'dataplane-cilium',
    'Cilium may route packets of pods past netfilter and with it past the block: set bpf.hostLegacyRouting=true, or block the metadata addresses with a Cilium policy (docs/install.md)',
  )
}

function hasEnv(workload: Workload, name: string, value: string): boolean {
  return containersOf(workload).some(({ env = [] }) =>
    env.some((one) => one.name === name && one.value === value),
  )
}

const containersOf = ({ spec }: Workload) => spec?.template.spec?.containers ?? []

/** The two tools that pod2iam replaces. */
function otherTools({ daemonSets, deployments }: ClusterState, { guards }: Installation): Finding {
  if (daemonSets === undefined) return notChecked('you may not list DaemonSets')
  const found = [...daemonSets, ...(deployments ?? [])].filter((workload) =>
    [workload.metadata?.name ?? '', ...containersOf(workload).map(({ image }) => image ?? '')].some((text) =>
      /(?:^|[/-])(?:kube2iam|kiam)(?:$|[:@-])/.test(text),
    ),
  )
  const [first] = found
  if (first === undefined) return ok('neither of them is running')
  const where = `${first.metadata?.namespace}/${first.metadata?.name}`
  const isEnforcing = guards.some(({ spec }) =>
    [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].some(
      ({ name, args = [] }) => name === 'firewall' && !args.some((one) => /^--mode=(?!enforce)/.test(one)),
    ),
  )
  const guide = 'docs/migrating-from-kube2iam.md and docs/migrating-from-kiam.md describe the steps'
  if (isEnforcing)
    return failed(
      'other-tool-beside-enforce',
      `${where} answers pods in place of the metadata service, so gates conclude that it is not blocked, and no injected pod starts`,
      `set guard.mode=audit until it is removed; ${guide}`,
    )
  return warning('other-tool', `${where} runs: ${guide}`)
}
