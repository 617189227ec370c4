/** Kubeconfigs in YAML, credential plugins, and API servers that record the requests. */
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { stringify } from 'yaml'
import { type Authority, createAuthority } from '../../sandbox/kube/client/certificates.ts'

export const base64 = (text: string) => Buffer.from(text).toString('base64')

/** A directory that is removed after the test, and functions that write its files. */
export async function files(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-kubeconfig-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return {
    directory,
    path: (name: string) => join(directory, name),
    write: async (name: string, text: string) => {
      await writeFile(join(directory, name), text)
      return join(directory, name)
    },
    /** A shell script that adds a line to `NAME.runs` each time it runs. */
    plugin: async (name: string, body: string) => {
      const path = join(directory, name)
      await writeFile(path, `#!/bin/sh\necho run >>'${path}.runs'\ncd '${directory}'\n${body}\n`)
      await chmod(path, 0o755)
      return path
    },
    runs: async (name: string) =>
      (await readFile(join(directory, `${name}.runs`), 'utf8').catch(() => '')).split('\n').length - 1,
  }
}

/** A kubeconfig in YAML with one user. */
export function kubeconfigText(cluster: object, user: object): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'sandbox', cluster }],
    users: [{ name: 'operator', user }],
    contexts: [{ name: 'test', context: { cluster: 'sandbox', user: 'operator' } }],
    'current-context': 'test',
  })
}

/** The output of a credential plugin. */
export const execCredential = (status: object) =>
  JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status })

type Seen = { readonly headers: IncomingHttpHeaders; readonly client: string | undefined }

/** An API server over TLS that answers `{}` and records of each request the headers and the client certificate's name. */
export async function witness(t: TestContext, options: ServerOptions = {}) {
  const authority = await createAuthority('witness')
  const { certPem, keyPem } = await authority.issue(['localhost'], ['127.0.0.1'])
  const seen: Seen[] = []
  let connections = 0
  const tls = { cert: certPem, key: keyPem, ca: authority.caPem, ...options }
  const server = createServer(tls, ({ headers, socket }, response) => {
    const { subject } = (socket as TLSSocket).getPeerCertificate()
    seen.push({ headers, client: subject?.CN as string | undefined })
    response.end('{}')
  })
  server.on('secureConnection', () => connections++)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(async () => {
    server.closeAllConnections()
    await once(server.close(), 'close')
  })
  const { port } = server.address() as AddressInfo
  const cluster = {
    server: `https://127.0.0.1:${port}`,
    'certificate-authority-data': base64(authority.caPem),
  }
  return { authority: authority as Authority, seen, cluster, port, connections: () => connections }
}
