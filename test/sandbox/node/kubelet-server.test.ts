/** `kubectl exec`, `logs` and `port-forward`, as the Kubernetes client of the command line does them. */
import assert from 'node:assert/strict'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { CoreV1Api, Exec, KubeConfig, PortForward, type V1Status } from '@kubernetes/client-node'
import { createSandbox, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import { API_SOCKET } from '../kube/server/protocol.ts'

const POD = 'default/web'
/** Answers every connection; its log shows the requests. */
const SERVE = `require('node:net').createServer((s) => s.end('hello from web')).listen(8080, '127.0.0.1', () => console.log('listening'))`

describe('connections into containers', needsNamespaces(), () => {
  let sandbox: Sandbox
  /** The API server's unix socket on a loopback port, because the server listens in another network namespace. */
  let door: Server

  before(async () => {
    sandbox = await createSandbox({ images: { app: { command: [process.execPath, '-e'] } } })
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', namespace: 'default' },
      spec: { containers: [{ name: 'app', image: 'app', args: [SERVE] }] },
    })
    await sandbox.pods.waitFor(POD, isReady)
    await sandbox.pods.waitForLog(POD, 'app', /listening/)
    door = createServer((near) => {
      const far = connect(join(sandbox.api.directory, API_SOCKET))
      near.pipe(far).pipe(near)
      near.on('error', () => far.destroy())
      far.on('error', () => near.destroy())
    })
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
  })
  after(async () => {
    door?.close()
    await sandbox?.close()
  })

  function configOf(token = sandbox.api.adminToken): KubeConfig {
    const address = door.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const config = new KubeConfig()
    config.loadFromClusterAndUser(
      {
        name: 'sandbox',
        server: `https://127.0.0.1:${port}`,
        caData: Buffer.from(sandbox.api.caPem).toString('base64'),
        skipTLSVerify: false,
      },
      { name: 'user', token },
    )
    return config
  }

  async function run(config: KubeConfig, command: string[], container = 'app') {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()]
    const ended = Promise.withResolvers<V1Status>()
    await new Exec(config).exec(
      'default',
      'web',
      container,
      command,
      stdout,
      stderr,
      null,
      false,
      ended.resolve,
    )
    const status = await ended.promise
    return { status, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') }
  }

  test('a command’s standard output and error have channels of their own', async () => {
    const { status, stdout, stderr } = await run(configOf(), ['/bin/sh', '-c', 'echo out; echo err >&2'])
    assert.equal(status.status, 'Success')
    assert.deepEqual([stdout, stderr], ['out\n', 'err\n'])
  })

  test('the status has the exit code of a command', async () => {
    const { status } = await run(configOf(), ['/bin/sh', '-c', 'exit 3'])
    assert.equal(status.reason, 'NonZeroExitCode')
    assert.deepEqual(status.details?.causes, [{ reason: 'ExitCode', message: '3' }])
  })

  test('a command in a container that does not exist is refused before the upgrade', async () => {
    await assert.rejects(run(configOf(), ['true'], 'other'), { message: /400/ })
  })

  test('a user who may get but not create pods/exec is refused, as since Kubernetes 1.35', async () => {
    const token = await reader('exec-reader', ['pods/exec'])
    await assert.rejects(run(configOf(token), ['true']), { message: /403/ })
  })

  test('the log is that of the current run, and can be limited', async () => {
    const core = configOf().makeApiClient(CoreV1Api)
    const log = { name: 'web', namespace: 'default', container: 'app' }
    assert.equal(await core.readNamespacedPodLog(log), 'listening\n')
    assert.equal(await core.readNamespacedPodLog({ ...log, tailLines: 0 }), '')
  })

  test('a port is forwarded to loopback of the pod', async () => {
    const [output, errors, input] = [new PassThrough(), new PassThrough(), new PassThrough()]
    await new PortForward(configOf(), true).portForward('default', 'web', [8080], output, errors, input)
    const [answer] = await Promise.race([
      new Promise<Buffer[]>((resolve) => output.once('data', (...all) => resolve(all))),
      new Promise<never>((_, reject) => errors.once('data', (text) => reject(new Error(String(text))))),
    ])
    assert.equal(String(answer), 'hello from web')
  })

  /** The token of a service account with only the permission to get these. */
  async function reader(name: string, resources: string[]): Promise<string> {
    const { kube } = sandbox
    await kube.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default' } })
    await kube.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name },
      rules: [{ apiGroups: [''], resources, verbs: ['get'] }],
    })
    await kube.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: 'default' }],
    })
    return (await kube.createToken('default', name)).token
  }
})
