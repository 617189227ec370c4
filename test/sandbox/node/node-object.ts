/** The Node object the kubelet stand-in registers. */
import type { KubeObject } from '../kube/client/client.ts'
import { GIT_VERSION } from '../kube/server/version.ts'
import type { NodeContext } from './node-context.ts'
import { HOSTNAME_LABEL } from './scheduler.ts'

/** @returns a v1 Node, Ready */
export function nodeObject({ name, addresses, labels, providerId }: NodeContext): KubeObject {
  const now = `${new Date().toISOString().slice(0, 19)}Z`
  const ready = {
    type: 'Ready',
    status: 'True',
    reason: 'KubeletReady',
    message: 'kubelet is posting ready status',
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  }
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : process.arch,
        [HOSTNAME_LABEL]: name,
        ...labels,
      },
    },
    spec: { ...(providerId === undefined ? {} : { providerID: providerId }) },
    status: {
      capacity: { cpu: '2', memory: '8Gi', pods: '110' },
      allocatable: { cpu: '2', memory: '8Gi', pods: '110' },
      addresses: [
        ...addresses.map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: name },
      ],
      conditions: [ready],
      nodeInfo: {
        kubeletVersion: GIT_VERSION,
        operatingSystem: 'linux',
        containerRuntimeVersion: 'sandbox://1',
      },
    },
  }
}
