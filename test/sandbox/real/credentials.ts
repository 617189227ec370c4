/** The files by which a control plane and its clients authenticate each other. */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hostPort } from '../../../common/addresses.ts'
import type { Authority } from '../kube/client/certificates.ts'
import type { ListenAddress } from '../kube/server/protocol.ts'

export type Credentials = { readonly caPem: string; readonly adminToken: string }

/** Logs every request and its result, but not the content: for tests of the permissions that each component uses. */
const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata' }],
}

/** Writes certificates, keys, tokens and policy into `directory`. */
export async function writeCredentials(
  directory: string,
  authority: Authority,
  names: readonly string[],
  ips: readonly string[],
  [address]: readonly ListenAddress[],
): Promise<Credentials> {
  const write = (name: string, text: string) => writeFile(join(directory, name), text, { mode: 0o600 })
  const serving = await authority.issue(names, ips)
  const serviceAccounts = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const token = () => randomBytes(24).toString('base64url')
  const [adminToken, controllerManager] = [token(), token()]
  await Promise.all([
    write('ca.crt', authority.caPem),
    write('api.crt', serving.certPem),
    write('api.key', serving.keyPem),
    write('sa.pub', serviceAccounts.publicKey),
    write('sa.key', serviceAccounts.privateKey),
    write('audit-policy.json', JSON.stringify(AUDIT_POLICY)),
    write(
      'tokens.csv',
      `${adminToken},kubernetes-admin,admin,system:masters\n` +
        `${controllerManager},system:kube-controller-manager,controller-manager\n`,
    ),
    write('controller-manager.json', JSON.stringify(kubeconfig(authority.caPem, controllerManager, address))),
  ])
  return { caPem: authority.caPem, adminToken }
}

function kubeconfig(caPem: string, token: string, address = { host: '127.0.0.1', port: 0 }) {
  const server = `https://${hostPort(address.host, address.port)}`
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'real',
        cluster: { server, 'certificate-authority-data': Buffer.from(caPem).toString('base64') },
      },
    ],
    users: [{ name: 'user', user: { token } }],
    contexts: [{ name: 'real', context: { cluster: 'real', user: 'user' } }],
    'current-context': 'real',
  }
}
