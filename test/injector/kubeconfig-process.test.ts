/** The built injector and its credentials for the API server: a credential plugin outside a cluster, the kubelet's files in a pod. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { stringify } from 'yaml'
import { buildComponent } from '../../build.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { NAME, objects, PLACE } from './authority-objects.ts'
import { authority } from './certificates.ts'
import { IMAGES } from './fixtures.ts'

const VOLUME = '/var/run/secrets/kubernetes.io/serviceaccount'
/** Runs a program in its own mount namespace, with the first argument as the volume. */
const IN_A_POD = [
  'mount -t tmpfs tmpfs /var/run',
  `mkdir -p ${VOLUME}`,
  `mount --bind "$1" ${VOLUME}`,
  'shift',
  'exec "$@"',
].join(' && ')

const needsRoot = {
  skip: process.getuid?.() === 0 ? false : 'needs root, to mount the volume of a service account',
}

describe('the injector’s connection to the API server', () => {
  let directory: string
  let bundle: string
  let api: ApiServer

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2k-'))
    bundle = join(directory, 'injector.cjs')
    await buildComponent('injector', bundle)
    api = await ApiServer.start({ directory: join(directory, 'api'), controllers: false })
    for (const object of objects(1)) await api.admin.create(object as unknown as KubeObject)
    const leaf = await (await authority()).leaf()
    await Promise.all([write('tls.crt', leaf.cert), write('tls.key', leaf.key)])
  })
  after(async () => {
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const write = (name: string, text: string) => writeFile(join(directory, name), text)
  const newToken = async () => (await api.admin.createToken(PLACE, NAME)).token

  /** Starts the injector and collects its output. */
  const start = async (t: TestContext, options: { kubeconfig?: string; volume?: string }) => {
    const [port, health] = [await freePort(), await freePort()]
    const { kubeconfig, volume } = options
    const argv = [
      ...[process.execPath, bundle, ...IMAGES, '--drain-seconds=0'],
      ...[`--tls-cert-file=${directory}/tls.crt`, `--tls-key-file=${directory}/tls.key`],
      ...[`--port=${port}`, `--health-port=${health}`],
      ...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]),
    ]
    const server = new URL(api.url())
    const env = { KUBERNETES_SERVICE_HOST: server.hostname, KUBERNETES_SERVICE_PORT: server.port }
    const child =
      volume === undefined
        ? spawn(argv[0] ?? '', argv.slice(1), { env: { PATH: process.env.PATH } })
        : spawn('unshare', ['-m', '/bin/sh', '-c', IN_A_POD, 'sh', volume, ...argv], {
            env: { PATH: process.env.PATH, ...env },
          })
    t.after(() => end(child))
    const output = { text: '' }
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output.text += chunk))
    const isReady = () =>
      fetch(`http://127.0.0.1:${health}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      )
    const problem = () =>
      fetch(`http://127.0.0.1:${health}/readyz`).then(
        async (answer) => ((await answer.json()) as { detail?: string }).detail,
        () => undefined,
      )
    return { child, output, isReady, problem }
  }

  it('outside a cluster uses a credential plugin, which runs again when its token has expired', async (t) => {
    const plugin = join(directory, 'get-token')
    await writeFile(plugin, `#!/bin/sh\necho run >>'${plugin}.runs'\ncat '${plugin}.credential'\n`)
    await chmod(plugin, 0o755)
    const give = (token: string, expirationTimestamp: string) =>
      writeFile(
        `${plugin}.credential`,
        JSON.stringify({ kind: 'ExecCredential', status: { token, expirationTimestamp } }),
      )
    const kubeconfig = join(directory, 'kubeconfig.yaml')
    const cluster = {
      server: api.url(),
      'certificate-authority-data': Buffer.from(api.caPem).toString('base64'),
    }
    await writeFile(
      kubeconfig,
      stringify({
        clusters: [{ name: 'sandbox', cluster }],
        users: [{ name: 'plugin', user: { exec: { command: './get-token' } } }],
        contexts: [{ name: 'test', context: { cluster: 'sandbox', user: 'plugin' } }],
        'current-context': 'test',
      }),
    )
    const first = await newToken()
    await give(first, '2001-01-01T00:00:00Z')
    const { child, output, isReady, problem } = await start(t, { kubeconfig })
    await until(isReady)
    await writeFile(`${plugin}.credential`, first)
    await until(async () => (await problem()) === 'there are no credentials for the API server')
    const sentence = `kubeconfig ${kubeconfig} cannot be used: its credential plugin \\"${plugin}\\" printed no ExecCredential`
    await until(() => output.text.includes(sentence))
    const second = await newToken()
    await give(second, '2999-01-01T00:00:00Z')
    const runs = async () => (await readFile(`${plugin}.runs`, 'utf8')).split('\n').length
    const before = await runs()
    await until(async () => (await runs()) > before)
    await until(isReady)
    assert.equal(child.exitCode, null)
    for (const token of [first, second]) assert.ok(!output.text.includes(token), 'no token is logged')
  })

  it('in a pod uses the token that the kubelet has renewed', needsRoot, async (t) => {
    const volume = join(directory, 'volume')
    await mkdir(volume)
    await writeFile(join(volume, 'ca.crt'), api.caPem)
    await writeFile(join(volume, 'token'), await newToken())
    const { output, isReady } = await start(t, { volume })
    await until(isReady)
    await api.rotateKeys({ keepOld: false })
    await until(async () => !(await isReady()))
    const fresh = await newToken()
    await writeFile(join(volume, 'token'), fresh)
    await until(isReady)
    assert.ok(!output.text.includes(fresh), 'no token is logged')
  })

  it('fails at the start with a sentence if the credential plugin fails', async (t) => {
    const kubeconfig = join(directory, 'failing.yaml')
    await writeFile(
      kubeconfig,
      stringify({
        clusters: [{ name: 'sandbox', cluster: { server: api.url() } }],
        users: [{ name: 'plugin', user: { exec: { command: 'sh', args: ['-c', 'echo no >&2; exit 4'] } } }],
        contexts: [{ name: 'test', context: { cluster: 'sandbox', user: 'plugin' } }],
        'current-context': 'test',
      }),
    )
    const { child, output } = await start(t, { kubeconfig })
    const [code] = await once(child, 'close')
    assert.equal(code, 1)
    assert.equal(
      output.text,
      `pod2iam injector: kubeconfig ${kubeconfig} cannot be used: its credential plugin "sh" ended with code 4: no\n`,
    )
  })
})

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}
