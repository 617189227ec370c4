import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { createAuthority } from '../sandbox/kube/client/certificates.ts'
import { listening } from '../support/listening.ts'
import { writeCredentials } from './credentials.ts'
import { API_URL, nodesOf } from './layout.ts'

const NODES = nodesOf(37)
let directory: string
const read = (name: string) => readFileSync(join(directory, name), 'utf8')

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'pod2iam-credentials-'))
  await writeCredentials(directory, await createAuthority('test'), NODES)
})
after(() => rmSync(directory, { recursive: true }))

/** The identity that a server which verifies clients sees for a kubeconfig. */
async function seenAs(name: string): Promise<{ CN?: unknown; O?: unknown }> {
  const { promise, resolve } = Promise.withResolvers<TLSSocket>()
  const options = { ca: read('ca.crt'), cert: read('api.crt'), key: read('api.key'), requestCert: true }
  const server = createServer({ ...options, rejectUnauthorized: true }, resolve)
  const port = await listening(server)
  const { clusters, users } = JSON.parse(read(`${name}.kubeconfig`))
  assert.equal(clusters[0].cluster.server, API_URL)
  const decode = (text: string) => Buffer.from(text, 'base64').toString()
  const client = connect({
    host: '127.0.0.1',
    port,
    ca: decode(clusters[0].cluster['certificate-authority-data']),
    cert: decode(users[0].user['client-certificate-data']),
    key: decode(users[0].user['client-key-data']),
  })
  try {
    return (await promise).getPeerCertificate().subject
  } finally {
    client.destroy()
    server.close()
  }
}

test('clients have the identities that kubeadm gives them', async () => {
  const users = {
    admin: ['kubernetes-admin', 'system:masters'],
    scheduler: ['system:kube-scheduler', undefined],
    'node-2': ['system:node:node-2', 'system:nodes'],
  }
  for (const [name, [user, group]] of Object.entries(users)) {
    const { CN, O } = await seenAs(name)
    assert.deepEqual([CN, O], [user, group])
  }
})

test('each kubelet has a serving certificate for its own name and address alone, from this authority', () => {
  for (const { name, address } of NODES) {
    const certificate = new X509Certificate(read(`${name}.crt`))
    assert.ok(certificate.verify(new X509Certificate(read('ca.crt')).publicKey))
    assert.equal(certificate.subjectAltName, `DNS:${name}, IP Address:${address}`)
  }
})
