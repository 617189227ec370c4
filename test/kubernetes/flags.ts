/** The flags of a control plane's programs: those of kubeadm, except where one machine needs something else. Pure. */
import { join } from 'node:path'
import { API_PORT, CONTROL_PLANE, SERVICES } from './layout.ts'

const ETCD = 'http://127.0.0.1:2379'
const ETCD_PEERS = 'http://127.0.0.1:2380'

export function etcdFlags(directory: string): string[] {
  return [
    `--data-dir=${join(directory, 'etcd')}`,
    // The data that a power cut would lose is not kept anyway.
    '--unsafe-no-fsync',
    '--log-level=warn',
    `--listen-client-urls=${ETCD}`,
    `--advertise-client-urls=${ETCD}`,
    `--listen-peer-urls=${ETCD_PEERS}`,
    `--initial-advertise-peer-urls=${ETCD_PEERS}`,
    `--initial-cluster=default=${ETCD_PEERS}`,
  ]
}

export function apiServerFlags(directory: string): string[] {
  const path = (name: string) => join(directory, name)
  return [
    `--etcd-servers=${ETCD}`,
    `--advertise-address=${CONTROL_PLANE}`,
    '--bind-address=0.0.0.0',
    `--secure-port=${API_PORT}`,
    `--tls-cert-file=${path('api.crt')}`,
    `--tls-private-key-file=${path('api.key')}`,
    `--client-ca-file=${path('ca.crt')}`,
    `--kubelet-certificate-authority=${path('ca.crt')}`,
    `--kubelet-client-certificate=${path('kubelet-client.crt')}`,
    `--kubelet-client-key=${path('kubelet-client.key')}`,
    '--kubelet-preferred-address-types=InternalIP',
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged=true',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${path('sa.pub')}`,
    `--service-account-signing-key-file=${path('sa.key')}`,
    `--service-cluster-ip-range=${SERVICES}`,
    // The API server has no kube-proxy beside it, so it calls webhooks at the addresses of their pods.
    '--enable-aggregator-routing=true',
    '--profiling=false',
  ]
}

/** Flags of both kube-controller-manager and kube-scheduler. */
function componentFlags(kubeconfig: string): string[] {
  return [
    `--kubeconfig=${kubeconfig}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    '--leader-elect=false',
    '--bind-address=127.0.0.1',
    '--profiling=false',
  ]
}

export function controllerManagerFlags(directory: string): string[] {
  return [
    ...componentFlags(join(directory, 'controller-manager.kubeconfig')),
    `--service-account-private-key-file=${join(directory, 'sa.key')}`,
    `--root-ca-file=${join(directory, 'ca.crt')}`,
    '--use-service-account-credentials=true',
    // The nodes' address ranges are planned (layout.ts).
    '--allocate-node-cidrs=false',
  ]
}

export function schedulerFlags(directory: string): string[] {
  return componentFlags(join(directory, 'scheduler.kubeconfig'))
}
