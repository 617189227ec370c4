/** The injector's access to the API server in a pod, whose token and CA the kubelet replaces. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import { test } from 'node:test'
import { kubeClient } from '../../../common/kube/client.ts'
import { podAccess } from '../../../common/kube/kubeconfig.ts'
import { type Authority, createAuthority } from '../../sandbox/kube/client/certificates.ts'
import { fakeClock } from '../../support/fake-clock.ts'
import { freePort } from '../../support/free-port.ts'
import { files } from './kubeconfig-files.ts'

const VOLUME = 'var/run/secrets/kubernetes.io/serviceaccount'

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
  const { directory, write, path } = await files(t)
  await mkdir(path(VOLUME), { recursive: true })
  const put = (name: string, text: string) => write(`${VOLUME}/${name}`, text)
  const [before, after] = await Promise.all([createAuthority('before'), createAuthority('after')])
  let token = 'one'
  const port = await freePort()
  let server = await serve(before, port, () => token)
  t.after(() => end(server))
  await Promise.all([put('token', 'one\n'), put('ca.crt', before.caPem)])
  const clock = fakeClock()
  process.env.KUBERNETES_SERVICE_HOST = '127.0.0.1'
  process.env.KUBERNETES_SERVICE_PORT = String(port)
  const kube = kubeClient(await podAccess(directory), clock)
  t.after(() => kube.close())
  await kube.get('/')

  token = 'two'
  await put('token', 'two\n')
  await assert.rejects(kube.get('/'), { status: 401 })
  await kube.get('/')

  await end(server)
  server = await serve(after, port, () => token)
  await assert.rejects(kube.get('/'), /certificate/)
  await put('ca.crt', after.caPem)
  await clock.advance(31_000)
  await kube.get('/')
})

test('the API server is found through the environment, also over IPv6, and the error outside a pod says what to do', async () => {
  process.env.KUBERNETES_SERVICE_HOST = 'fd00::1'
  process.env.KUBERNETES_SERVICE_PORT = '6443'
  assert.equal((await podAccess()).server.href, 'https://[fd00::1]:6443/')
  await assert.rejects(
    (await podAccess('/nonexistent')).read(),
    /service account of this pod.*ENOENT.*\/nonexistent/,
  )
  delete process.env.KUBERNETES_SERVICE_HOST
  await assert.rejects(podAccess(), /KUBERNETES_SERVICE_HOST is not set.*--kubeconfig/)
})
