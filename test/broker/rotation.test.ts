/** The kubelet replaces the token of a running broker and the API server's CA, at their in-cluster paths. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inClusterAccess } from '../../common/kube/access.ts'
import { kubeClient } from '../../common/kube/client.ts'
import { type Authority, createAuthority } from '../sandbox/kube/client/certificates.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { freePort } from '../support/free-port.ts'

async function serve(authority: Authority, port: number, token: () => string): Promise<Server> {
  const { certPem, keyPem } = await authority.issue([], ['127.0.0.1'])
  const server = createServer({ cert: certPem, key: keyPem }, ({ headers }, response) => {
    response.statusCode = headers.authorization === `Bearer ${token()}` ? 200 : 401
    response.end('{}')
  })
  await once(server.listen(port, '127.0.0.1'), 'listening')
  return server
}

async function end(server: Server): Promise<void> {
  server.closeAllConnections()
  await once(server.close(), 'close')
}

test('a token that was replaced is read again once it is refused, and a new CA within half a minute', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'p2b-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const write = (name: string, text: string) => writeFile(join(directory, name), text)
  const [before, after] = await Promise.all([createAuthority('before'), createAuthority('after')])
  let token = 'one'
  const port = await freePort()
  let server = await serve(before, port, () => token)
  t.after(() => end(server))
  await Promise.all([write('token', 'one\n'), write('ca.crt', before.caPem)])
  const clock = fakeClock()
  const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT_HTTPS: String(port) }
  const kube = kubeClient(inClusterAccess(env, directory), clock)
  t.after(() => kube.close())
  await kube.get('/')

  token = 'two'
  await write('token', 'two\n')
  await assert.rejects(kube.get('/'), { status: 401 })
  await kube.get('/')

  await end(server)
  server = await serve(after, port, () => token)
  await assert.rejects(kube.get('/'), /certificate/)
  await write('ca.crt', after.caPem)
  await clock.advance(31_000)
  await kube.get('/')
})
