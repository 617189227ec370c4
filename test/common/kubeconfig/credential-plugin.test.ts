/** Credential plugins (`exec`), such as `aws eks get-token`. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { kubeClient } from '../../../common/kube/client.ts'
import { kubeconfigAccess } from '../../../common/kube/kubeconfig.ts'
import { ApiServer } from '../../sandbox/kube/client/client.ts'
import { fakeClock } from '../../support/fake-clock.ts'
import { until } from '../../support/until.ts'
import { base64, execCredential, files, kubeconfigText, witness } from './kubeconfig-files.ts'

const FAR = '2999-01-01T00:00:00Z'
const PAST = '2001-01-01T00:00:00Z'

async function plugged(t: TestContext, path: string, pluginTimeoutMs = 60_000) {
  const clock = fakeClock()
  const kube = kubeClient(await kubeconfigAccess(path, { clock, pluginTimeoutMs }), clock)
  t.after(() => kube.close())
  return { kube, clock }
}

test('a credential plugin runs once for many requests, and again when its token has expired', async (t) => {
  const { directory, write, plugin, runs } = await files(t)
  const api = await ApiServer.start({ directory, controllers: false })
  t.after(() => api.stop())
  const cluster = { server: api.url(), 'certificate-authority-data': base64(api.caPem) }
  await write('credential', execCredential({ token: api.adminToken, expirationTimestamp: FAR }))
  await plugin('get-token', 'cat credential')
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './get-token' }
  const file = await write('config', kubeconfigText(cluster, { exec }))
  const { kube, clock } = await plugged(t, file)
  await Promise.all(Array.from({ length: 20 }, () => kube.get('/version')))
  await clock.advance(3_600_000)
  await kube.get('/version')
  assert.equal(await runs('get-token'), 1)

  await write('credential', execCredential({ token: api.adminToken, expirationTimestamp: PAST }))
  const expiring = await plugged(t, file)
  assert.equal(await runs('get-token'), 2)
  await Promise.all(Array.from({ length: 20 }, () => expiring.kube.get('/version')))
  assert.equal(await runs('get-token'), 3)
  await expiring.clock.advance(1000)
  await Promise.all(Array.from({ length: 20 }, () => expiring.kube.get('/version')))
  assert.equal(await runs('get-token'), 4)
})

test('a credential plugin runs again when the API server refuses its token, but not for every request', async (t) => {
  const { directory, write, plugin, runs } = await files(t)
  const api = await ApiServer.start({ directory, controllers: false })
  t.after(() => api.stop())
  const cluster = { server: api.url(), 'certificate-authority-data': base64(api.caPem) }
  await write('credential', execCredential({ token: 'refused', expirationTimestamp: FAR }))
  const command = await plugin('get-token', 'cat credential')
  const { kube, clock } = await plugged(
    t,
    await write('config', kubeconfigText(cluster, { exec: { command } })),
  )
  for (let request = 0; request < 5; request++) await assert.rejects(kube.get('/version'), { status: 401 })
  assert.equal(await runs('get-token'), 1)
  await write('credential', execCredential({ token: api.adminToken, expirationTimestamp: FAR }))
  await clock.advance(10_000)
  await kube.get('/version')
  assert.equal(await runs('get-token'), 2)
})

test('a credential plugin gets its arguments, its environment and an empty input, and its client certificate is used', async (t) => {
  const { write, plugin, directory } = await files(t)
  const { authority, cluster, seen } = await witness(t, { requestCert: true, rejectUnauthorized: true })
  const { certPem, keyPem } = await authority.identify('plugged')
  await write('credential', execCredential({ clientCertificateData: certPem, clientKeyData: keyPem }))
  const script = 'cat; printf "%s %s %s" "$1" "$CLUSTER" "$KUBERNETES_EXEC_INFO" >asked; cat credential'
  const command = await plugin('get-certificate', script)
  const apiVersion = 'client.authentication.k8s.io/v1beta1'
  const exec = { apiVersion, command, args: ['--print'], env: [{ name: 'CLUSTER', value: 'blue' }] }
  const { kube } = await plugged(t, await write('config', kubeconfigText(cluster, { exec })))
  await kube.get('/')
  assert.equal(seen[0]?.client, 'plugged')
  const [, flag, name, info = ''] =
    /^(\S+) (\S+) (.*)$/.exec(await readFile(`${directory}/asked`, 'utf8')) ?? []
  assert.deepEqual([flag, name], ['--print', 'blue'])
  assert.deepEqual(JSON.parse(info), { kind: 'ExecCredential', apiVersion, spec: { interactive: false } })
})

test('a credential plugin that fails or prints rubbish is reported without its output, and works once it is repaired', async (t) => {
  const { write, plugin } = await files(t)
  const { cluster, seen } = await witness(t)
  const secret = `k8s-aws-v1.${'x'.repeat(60)}`
  const good = `echo '${execCredential({ token: 'works' })}'`
  const cases: [script: string, reason: RegExp][] = [
    [
      `echo ${secret}; echo first >&2; echo "no way with ${secret}" >&2; exit 3`,
      /ended with code 3: no way with …$/,
    ],
    ['kill -9 $$', /ended with SIGKILL$/],
    [`echo '${secret}'`, /printed no ExecCredential with a token or a client certificate$/],
    [`echo '{"status":{"token":"${secret}'`, /printed no ExecCredential/],
    ["echo '{}'", /printed no ExecCredential/],
    ['echo null', /printed no ExecCredential/],
    ['echo \'{"status":{}}\'', /printed no ExecCredential/],
    ['exit 0', /printed no ExecCredential/],
    ['yes | head -c 3000000; exec sleep 1000', /printed more than 1 MiB$/],
  ]
  const command = await plugin('get-token', good)
  const file = await write('config', kubeconfigText(cluster, { exec: { command } }))
  for (const [script, reason] of cases) {
    await plugin('get-token', script)
    await assert.rejects(kubeconfigAccess(file, { pluginTimeoutMs: 60_000 }), ({ message }: Error) => {
      assert.match(message, reason)
      assert.ok(message.startsWith(`kubeconfig ${file} cannot be used: its credential plugin "${command}" `))
      assert.doesNotMatch(message, /xxx|\n/)
      return true
    })
    await plugin('get-token', `echo '${execCredential({ token: 'works', expirationTimestamp: PAST })}'`)
    const clock = fakeClock()
    const access = await kubeconfigAccess(file, { clock, pluginTimeoutMs: 60_000 })
    await plugin('get-token', script)
    await assert.rejects(access.read(), reason)
    await plugin('get-token', good)
    // The plugin is not run again so soon: the failure is reported once more.
    await assert.rejects(access.read(), reason)
    await clock.advance(1000)
    assert.equal((await access.read()).token, 'works')
  }
  assert.equal(seen.length, 0)
})

test('a credential plugin that hangs is killed with all processes it has started', async (t) => {
  const { write, plugin, directory } = await files(t)
  const { cluster } = await witness(t)
  const command = await plugin('get-token', 'sleep 100000 & echo $! >sleeper; wait')
  const file = await write('config', kubeconfigText(cluster, { exec: { command } }))
  await assert.rejects(kubeconfigAccess(file, { pluginTimeoutMs: 5000 }), /did not end within 5 s$/)
  const sleeper = Number(await readFile(`${directory}/sleeper`, 'utf8'))
  await until(async () => !(await isRunning(sleeper)))
})

test('a missing credential plugin is reported, and a request does not wait for a slow one', async (t) => {
  const { write, plugin } = await files(t)
  const { cluster, seen } = await witness(t)
  const absent = await write('absent', kubeconfigText(cluster, { exec: { command: 'no-such-plugin' } }))
  await assert.rejects(
    kubeconfigAccess(absent),
    /credential plugin "no-such-plugin" could not be started \(ENOENT\)$/,
  )

  const expired = `echo '${execCredential({ token: 'old', expirationTimestamp: PAST })}'`
  const command = await plugin('get-token', expired)
  const file = await write('config', kubeconfigText(cluster, { exec: { command } }))
  const { kube, clock } = await plugged(t, file)
  await plugin('get-token', `until [ -e go ]; do sleep 0.1; done; echo '${execCredential({ token: 'new' })}'`)
  const refused = assert.rejects(kube.get('/'), /no credentials within 10000 ms/)
  await clock.advance(11_000)
  await refused
  await write('go', '')
  await kube.get('/')
  assert.equal(seen[0]?.headers.authorization, 'Bearer new')
})

/** Whether the process runs; a zombie does not. */
async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !/\) Z /.test(stat)
}
