/** What a kubeconfig may contain, mostly over TLS to a server that checks it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { systemClock } from '../../../common/clock.ts'
import { kubeClient } from '../../../common/kube/client.ts'
import { kubeconfigAccess } from '../../../common/kube/kubeconfig.ts'
import { ApiServer } from '../../sandbox/kube/client/client.ts'
import { fakeClock } from '../../support/fake-clock.ts'
import { base64, files, kubeconfigText, witness } from './kubeconfig-files.ts'

async function sandbox(t: TestContext, directory: string) {
  const api = await ApiServer.start({ directory, controllers: false })
  t.after(() => api.stop())
  const cluster = { server: api.url(), 'certificate-authority-data': base64(api.caPem) }
  return { api, cluster }
}

async function clientOf(t: TestContext, path: string) {
  const clock = fakeClock()
  const kube = kubeClient(await kubeconfigAccess(path, { clock }), clock)
  t.after(() => kube.close())
  return { kube, clock }
}

test('a kubeconfig may be YAML with comments, anchors and a token', async (t) => {
  const { directory, write } = await files(t)
  const { api, cluster } = await sandbox(t, directory)
  const text = `# of the operator\nx-note: &note {a: 1}\nx-same: *note\n${kubeconfigText(cluster, { token: api.adminToken })}`
  const { kube } = await clientOf(t, await write('config', text))
  const answer = (await kube.get('/api/v1/namespaces/default')) as { kind: string }
  assert.equal(answer.kind, 'Namespace')
})

test('a token file is read again once the API server refuses its token', async (t) => {
  const { directory, write } = await files(t)
  const { api, cluster } = await sandbox(t, directory)
  const account = {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'reader', namespace: 'default' },
  }
  await api.admin.create(account)
  const token = async () => (await api.admin.createToken('default', 'reader')).token
  await write('token', `${await token()}\n`)
  // The token in the kubeconfig itself does not count beside a token file.
  const user = { tokenFile: 'token', token: 'stale' }
  const { kube } = await clientOf(t, await write('config', kubeconfigText(cluster, user)))
  await kube.get('/version')
  const keyed = await api.rotateKeys({ keepOld: false })
  assert.ok(keyed)
  await assert.rejects(kube.get('/version'), { status: 401 })
  await write('token', `${await token()}\n`)
  await kube.get('/version')
})

test('a client certificate is read from data, and from files that may be replaced', async (t) => {
  const { write } = await files(t)
  const { authority, cluster, seen } = await witness(t, { requestCert: true, rejectUnauthorized: true })
  const first = await authority.identify('first')
  const data = {
    'client-certificate-data': base64(first.certPem),
    'client-key-data': base64(first.keyPem),
    // Data take precedence over files, as in kubectl.
    'client-certificate': '/nonexistent',
  }
  await (await clientOf(t, await write('data', kubeconfigText(cluster, data)))).kube.get('/')
  const put = async ({ certPem, keyPem }: { certPem: string; keyPem: string }) => {
    await write('user.crt', certPem)
    await write('user.key', keyPem)
  }
  await put(first)
  const named = { 'client-certificate': 'user.crt', 'client-key': 'user.key' }
  const { kube, clock } = await clientOf(t, await write('files', kubeconfigText(cluster, named)))
  await kube.get('/')
  await put(await authority.identify('second'))
  await clock.advance(31_000)
  await kube.get('/')
  assert.deepEqual(
    seen.map(({ client }) => client),
    ['first', 'first', 'second'],
  )
})

test('a user name with a password is sent, and the impersonated user', async (t) => {
  const { write } = await files(t)
  const { cluster, seen } = await witness(t)
  const user = { username: 'operator', password: 'secret', as: 'system:serviceaccount:a:b' }
  await (await clientOf(t, await write('config', kubeconfigText(cluster, user)))).kube.get('/')
  const { authorization, 'impersonate-user': impersonated } = seen[0]?.headers ?? {}
  assert.equal(authorization, `Basic ${base64('operator:secret')}`)
  assert.equal(impersonated, 'system:serviceaccount:a:b')
})

test('the name in the server’s certificate may be set, or its check be turned off', async (t) => {
  const { write } = await files(t)
  const { cluster, seen } = await witness(t)
  const other = { ...cluster, 'tls-server-name': 'kubernetes' }
  const { kube } = await clientOf(t, await write('name', kubeconfigText(other, { token: 't' })))
  await assert.rejects(kube.get('/'), /ERR_TLS_CERT_ALTNAME_INVALID|altnames/)
  const { 'certificate-authority-data': _, ...unchecked } = { ...cluster, 'insecure-skip-tls-verify': true }
  const insecure = await clientOf(t, await write('insecure', kubeconfigText(unchecked, { token: 't' })))
  await insecure.kube.get('/')
  const checked = { server: cluster.server }
  const secure = await clientOf(t, await write('secure', kubeconfigText(checked, { token: 't' })))
  await assert.rejects(secure.kube.get('/'), /certificate/)
  assert.equal(seen.length, 1)
})

test('an HTTP proxy is used, with one connection for several requests, and the cluster’s CA is checked through it', async (t) => {
  const { write } = await files(t)
  const { cluster, port, connections } = await witness(t)
  const tunnels: string[] = []
  const proxy = createServer()
  proxy.on('connect', (request, client: Socket) => {
    tunnels.push(request.url ?? '')
    const server = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      client.pipe(server).pipe(client)
    })
    for (const socket of [client, server])
      socket.on('error', () => undefined).on('close', () => (socket === client ? server : client).destroy())
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  t.after(() => proxy.close())
  const proxied = { ...cluster, 'proxy-url': `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` }
  const { kube } = await clientOf(t, await write('config', kubeconfigText(proxied, { token: 't' })))
  await kube.get('/')
  await kube.get('/')
  kube.close()
  assert.deepEqual(tunnels, [`127.0.0.1:${port}`])
  assert.equal(connections(), 1)
  const { 'certificate-authority-data': _, ...unknown } = proxied
  const stranger = await clientOf(t, await write('unknown', kubeconfigText(unknown, { token: 't' })))
  await assert.rejects(stranger.kube.get('/'), /certificate/)
})

test('a SOCKS proxy is used', async (t) => {
  const { write } = await files(t)
  const { cluster, port, seen } = await witness(t)
  let tunnels = 0
  const proxy = createTcpServer((client) => {
    // RFC 1928: no authentication, then a request to connect, whose answer names no address.
    client.once('data', () => {
      client.write(Buffer.from([5, 0]))
      client.once('data', () => {
        tunnels++
        const server = connect(port, '127.0.0.1', () => {
          client.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
          client.pipe(server).pipe(client)
        })
        for (const socket of [client, server])
          socket
            .on('error', () => undefined)
            .on('close', () => (socket === client ? server : client).destroy())
      })
    })
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  t.after(() => proxy.close())
  // socks-proxy-agent checks the certificate of a server that is given by its address for the name `localhost`.
  const named = { ...cluster, server: `https://localhost:${port}` }
  const proxied = { ...named, 'proxy-url': `socks5://127.0.0.1:${(proxy.address() as AddressInfo).port}` }
  const { kube } = await clientOf(t, await write('config', kubeconfigText(proxied, { token: 't' })))
  await kube.get('/')
  await kube.get('/')
  kube.close()
  assert.deepEqual([tunnels, seen.length], [1, 2])
})

test('a server without TLS is used if the kubeconfig says that its certificate need not be checked', async (t) => {
  const { write } = await files(t)
  const server = createServer((request, response) =>
    response.end(`{"as":"${request.headers.authorization}"}`),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(async () => {
    server.closeAllConnections()
    await once(server.close(), 'close')
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const cluster = { server: url, 'insecure-skip-tls-verify': true }
  const { kube } = await clientOf(t, await write('config', kubeconfigText(cluster, { token: 't' })))
  assert.deepEqual(await kube.get('/'), { as: 'Bearer t' })
})

test('a kubeconfig that cannot be used is refused in one sentence, which quotes no secret', async (t) => {
  const { write, path } = await files(t)
  const cluster = { server: 'https://127.0.0.1:1' }
  const good = kubeconfigText(cluster, { token: 't' })
  const cases: [content: string, reason: RegExp][] = [
    ['users: [{name: a, user: {token: hush-hush}}\n: :\n', /is neither YAML nor JSON \(line \d+\)$/],
    ['"hush-hush', /is neither YAML nor JSON/],
    ['hush-hush', /is not a kubeconfig$/],
    ['', /not a kubeconfig|neither YAML/],
    ['[]', /is not a kubeconfig$/],
    ['{}', /no context.*kubectl config use-context/],
    [good.replace('current-context: test', 'current-context: gone'), /no context named "gone"/],
    [good.replace('user: operator', 'user: nobody'), /no user named "nobody"/],
    [good.replace('cluster: sandbox', 'cluster: nowhere'), /no cluster named "nowhere"/],
    [kubeconfigText({}, { token: 't' }), /no cluster named "sandbox" with a server URL/],
    [kubeconfigText({ server: 'nowhere' }, { token: 't' }), /no server URL/],
    [kubeconfigText({ server: 'http://127.0.0.1:1' }, { token: 't' }), /HTTP protocol is not allowed/],
    [kubeconfigText(cluster, { 'as-groups': ['a'], token: 'hush-hush' }), /as-groups.*not supported/],
    [kubeconfigText(cluster, { tokenFile: 'gone' }), /ENOENT.*\/gone/],
    [kubeconfigText(cluster, { 'client-certificate': 'gone', 'client-key': 'gone' }), /ENOENT.*\/gone/],
    [kubeconfigText({ ...cluster, 'certificate-authority': 'gone' }, { token: 't' }), /ENOENT.*\/gone/],
    [
      kubeconfigText(cluster, { 'auth-provider': { name: 'oidc', config: {} } }),
      /auth provider "oidc".*log in again/,
    ],
  ]
  for (const [content, reason] of cases) {
    const file = await write('config', content)
    await assert.rejects(kubeconfigAccess(file), ({ message }: Error) => {
      assert.match(message, reason)
      assert.ok(message.startsWith(`kubeconfig ${file} cannot be used: `), message)
      assert.doesNotMatch(message, /\n|hush/)
      return true
    })
  }
  await assert.rejects(kubeconfigAccess(path('gone')), /cannot be read \(ENOENT.*--kubeconfig/)
})

test('incomplete entries of other contexts do not matter', async (t) => {
  const { directory, write } = await files(t)
  const { api, cluster } = await sandbox(t, directory)
  const text = kubeconfigText(cluster, { token: api.adminToken }).replace(
    'clusters:\n',
    'clusters:\n  - name: half\n  - 5\n  - null\n',
  )
  const kube = kubeClient(await kubeconfigAccess(await write('config', text)), systemClock)
  t.after(() => kube.close())
  await kube.get('/version')
})
