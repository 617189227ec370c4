/** The configuration of a node's programs. Pure. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  CONTROL_PLANE,
  DNS_SERVICE,
  type NodePlan,
  PAUSE,
  PODS,
  REGISTRIES,
  REGISTRY_PORT,
} from './layout.ts'

export type NodeSite = {
  /** The files of all nodes: certificates and kubeconfigs. */
  readonly shared: string
  /** The node's own directory, in which its disks are. */
  readonly own: string
  /** Where the CNI plugins are. */
  readonly plugins: string
  /** The cgroup below which the node creates its own, in every hierarchy. */
  readonly cgroup: string
  /** `v2`: the node sees only the machine's cgroup v2. */
  readonly cgroups: 'machine' | 'v2'
  /** The minor version of its Kubernetes programs: 37 for 1.37.2. */
  readonly minor: number
}

/** From Kubernetes 1.N on a kubelet refuses cgroup v1 unless this is set; before, it does not know the setting. */
const FAIL_CGROUP_V1_MINOR = 31

/** The only file of a node that is a program. */
export const RUNC = 'runc'
const RUNC_WITHOUT_LIMITS = fileURLToPath(new URL('runc-without-limits.ts', import.meta.url))

const RUNTIME_SOCKET = 'unix:///run/containerd/containerd.sock'
const REGISTRY = `http://${CONTROL_PLANE}:${REGISTRY_PORT}`

/** Files by their names below the node's own directory. */
export function nodeFiles(plan: NodePlan, site: NodeSite): Record<string, string> {
  return {
    'containerd.toml': containerd(site),
    ...(site.cgroups === 'v2' ? { [RUNC]: runc() } : {}),
    ...Object.fromEntries(REGISTRIES.map((host) => [`registries/${host}/hosts.toml`, hosts()])),
    'cni/10-bridge.conflist': JSON.stringify(network(plan)),
    'kubelet.json': JSON.stringify(kubelet(plan, site)),
    'kube-proxy.json': JSON.stringify(kubeProxy(plan, site)),
  }
}

/** As for containerd in a container (kind): no AppArmor, and no oom_score_adj below its own. */
function containerd({ own, plugins, cgroups }: NodeSite): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"'
  return `version = 2
[grpc]
  address = "/run/containerd/containerd.sock"
[${cri}]
  sandbox_image = "${PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
[${cri}.cni]
  bin_dir = "${plugins}"
  conf_dir = "${join(own, 'cni')}"
[${cri}.registry]
  config_path = "${join(own, 'registries')}"
[${cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
${cgroups === 'v2' ? `[${cri}.containerd.runtimes.runc.options]\n  BinaryName = "${join(own, RUNC)}"\n` : ''}`
}

/** What containerd starts in place of runc. */
function runc(): string {
  return `#!/bin/sh\nexec '${process.execPath}' '${RUNC_WITHOUT_LIMITS}' "$@"\n`
}

function hosts(): string {
  return `server = "${REGISTRY}"
[host."${REGISTRY}"]
  capabilities = ["pull", "resolve"]
`
}

/** Pods keep their own address wherever they connect to, as with the VPC CNI. The allocated addresses are lost at a boot, as the pods are. */
function network({ subnet }: NodePlan): object {
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: '/run/cni-addresses',
  }
  const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipMasq: false, ipam }
  return { cniVersion: '0.4.0', name: 'pods', plugins: [bridge] }
}

function kubelet({ name, address }: NodePlan, { shared, cgroup, own, minor }: NodeSite): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: join(shared, 'ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    address,
    healthzBindAddress: '127.0.0.1',
    tlsCertFile: join(shared, `${name}.crt`),
    tlsPrivateKeyFile: join(shared, `${name}.key`),
    containerRuntimeEndpoint: RUNTIME_SOCKET,
    // The machine may have either version of cgroups.
    ...(minor >= FAIL_CGROUP_V1_MINOR ? { failCgroupV1: false } : {}),
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}/${name}`,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    oomScoreAdj: 0,
    // The disk is shared with everything else on the machine.
    evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    // Nobody answers there, because the product resolves no names of the cluster.
    clusterDNS: [DNS_SERVICE],
    providerID: `namespace://${name}`,
    volumePluginDir: join(own, 'volume-plugins'),
    maxPods: 200,
    registryPullQPS: 0,
    // The test creates and deletes pods by the hundred; the defaults (50 and 100) are too low for that.
    kubeAPIQPS: 100,
    kubeAPIBurst: 200,
  }
}

/** The zeros keep the machine's sysctls as they are. */
function kubeProxy({ name, proxyMode }: NodePlan, { shared }: NodeSite): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: proxyMode,
    hostnameOverride: name,
    clusterCIDR: PODS,
    clientConnection: { kubeconfig: join(shared, 'proxy.kubeconfig') },
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  }
}
