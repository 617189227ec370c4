/** How clients find the API server and authenticate. Pure. */
import type { KeyPair } from '../sandbox/kube/client/certificates.ts'
import { API_URL } from './layout.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')

/** A kubeconfig that contains all its data, as JSON. */
export function kubeconfig(caPem: string, { certPem, keyPem }: KeyPair): string {
  const user = { 'client-certificate-data': base64(certPem), 'client-key-data': base64(keyPem) }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: 'namespaces', cluster: { server: API_URL, 'certificate-authority-data': base64(caPem) } },
    ],
    users: [{ name: 'user', user }],
    contexts: [{ name: 'namespaces', context: { cluster: 'namespaces', user: 'user' } }],
    'current-context': 'namespaces',
  })
}
