/** The files by which a control plane and its clients authenticate each other, the same that kubeadm creates. */
import { generateKeyPairSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Authority, KeyPair } from '../sandbox/kube/client/certificates.ts'
import { kubeconfig } from './kubeconfig.ts'
import { API_SERVICE, CONTROL_PLANE, type NodePlan } from './layout.ts'

const API_NAMES = [
  'kubernetes',
  'kubernetes.default',
  'kubernetes.default.svc',
  'kubernetes.default.svc.cluster.local',
]

/** Clients, keyed by the name of their kubeconfig. */
const CLIENTS = {
  admin: ['kubernetes-admin', 'system:masters'],
  'controller-manager': ['system:kube-controller-manager'],
  scheduler: ['system:kube-scheduler'],
  proxy: ['system:kube-proxy'],
} as const

/** Writes `ca.crt`, `NAME.crt`, `NAME.key`, `sa.pub`, `sa.key` and `NAME.kubeconfig` into `directory`. */
export async function writeCredentials(
  directory: string,
  authority: Authority,
  nodes: readonly NodePlan[],
): Promise<void> {
  const write = (name: string, text: string) => writeFile(join(directory, name), text, { mode: 0o600 })
  const writePair = async (name: string, { certPem, keyPem }: KeyPair) => {
    await Promise.all([write(`${name}.crt`, certPem), write(`${name}.key`, keyPem)])
  }
  const writeClient = async (name: string, [user = '', ...groups]: readonly string[]) =>
    write(`${name}.kubeconfig`, kubeconfig(authority.caPem, await authority.identify(user, groups)))
  const serviceAccounts = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  await Promise.all([
    write('ca.crt', authority.caPem),
    write('sa.pub', serviceAccounts.publicKey),
    write('sa.key', serviceAccounts.privateKey),
    writePair('api', await authority.issue(API_NAMES, [CONTROL_PLANE, API_SERVICE, '127.0.0.1'])),
    writePair(
      'kubelet-client',
      await authority.identify('kube-apiserver-kubelet-client', ['system:masters']),
    ),
    ...Object.entries(CLIENTS).map(([name, who]) => writeClient(name, who)),
    ...nodes.map(({ name }) => writeClient(name, [`system:node:${name}`, 'system:nodes'])),
    ...nodes.map(async ({ name, address }) => writePair(name, await authority.issue([name], [address]))),
  ])
}
