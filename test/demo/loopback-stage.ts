/** pod2iam's processes on 127.0.0.1, with the sandbox's AWS and API server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TOKEN_AUDIENCE } from '../../common/addresses.ts'
import { createLoopbackSandbox, type KubeObject, type LoopbackSandbox, type Pod } from '../sandbox/index.ts'
import { webhooks } from '../sandbox/install.ts'
import { freePort } from '../support/free-port.ts'
import { eventually, Hopeless } from '../support/until.ts'
import { NODE_ROLE, PROJECT } from './stage.ts'

const NODE = 'loopback'
const INJECTOR_NAME = 'injector.localhost'

export type RunningSidecar = {
  readonly url: string
  /** The body of a GET. */
  readonly get: (path: string) => Promise<string>
  readonly log: () => string
}

export type LoopbackStage = LoopbackSandbox & {
  /** Runs the sidecar of an admitted pod with the environment from the injector, except for addresses. */
  readonly runSidecar: (pod: Pod & KubeObject) => Promise<RunningSidecar>
  readonly killBroker: () => Promise<void>
}

export async function openLoopbackStage(): Promise<LoopbackStage> {
  const sandbox = await createLoopbackSandbox({ aws: { account: '222222222222', nodeRoleArn: NODE_ROLE } })
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-demo-'))
  const processes: Process[] = []
  const close = async () => {
    await Promise.all(processes.map((one) => one.stop()))
    await sandbox.close()
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    await sandbox.kube.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: NODE } })
    const kubeconfig = await sandbox.api.kubeconfig()
    const [broker] = await Promise.all([
      startBroker(sandbox, kubeconfig, directory),
      startInjector(sandbox, kubeconfig, directory).then((injector) => processes.push(injector)),
    ])
    processes.push(broker.process)
    return {
      ...sandbox,
      close,
      killBroker: () => broker.process.stop('SIGKILL'),
      runSidecar: async (pod) => {
        const { process, sidecar } = await startSidecar(sandbox, broker.url, pod, directory)
        processes.push(process)
        return sidecar
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function startBroker({ aws }: LoopbackSandbox, kubeconfig: string, directory: string) {
  const [port, health] = [await freePort(), await freePort()]
  const args = [
    `--node-name=${NODE}`,
    `--kubeconfig=${kubeconfig}`,
    '--listen=127.0.0.1',
    `--port=${port}`,
    `--health-port=${health}`,
    `--imds-endpoint=${aws.imdsUrl}`,
    // Nothing can be guarded here, which the demo says.
    '--require-firewall=false',
    `--state-dir=${directory}`,
  ]
  const process = new Process('broker', args, aws.environment())
  await process.ready(health)
  return { process, url: `http://127.0.0.1:${port}` }
}

async function startInjector({ api, kube }: LoopbackSandbox, kubeconfig: string, directory: string) {
  const [port, health] = [await freePort(), await freePort()]
  const { certPem, keyPem } = await api.issueCertificate([INJECTOR_NAME, 'localhost'], ['127.0.0.1'])
  const files = { cert: join(directory, 'tls.crt'), key: join(directory, 'tls.key') }
  writeFileSync(files.cert, certPem)
  writeFileSync(files.key, keyPem, { mode: 0o600 })
  const args = [
    `--tls-cert-file=${files.cert}`,
    `--tls-key-file=${files.key}`,
    `--kubeconfig=${kubeconfig}`,
    `--port=${port}`,
    `--health-port=${health}`,
    '--sidecar-image=pod2iam/sidecar:dev',
    '--node-guard-image=pod2iam/node-guard:dev',
  ]
  const process = new Process('injector', args)
  await process.ready(health)
  const configuration = webhooks(api.caPem)
  for (const webhook of configuration.webhooks) {
    webhook.clientConfig.url = `https://127.0.0.1:${port}/mutate`
    delete webhook.clientConfig.service
  }
  await kube.apply(configuration)
  return process
}

async function startSidecar(
  { kube }: LoopbackSandbox,
  brokerUrl: string,
  pod: Pod & KubeObject,
  directory: string,
) {
  const { name, namespace = 'default', uid = '' } = pod.metadata
  const status = { podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }], phase: 'Running' }
  await kube.patch('pods', name, namespace, { status }, { subresource: 'status' })
  const { token } = await kube.createToken(namespace, pod.spec.serviceAccountName ?? 'default', {
    audiences: [TOKEN_AUDIENCE],
    pod: { name, uid },
  })
  const tokenFile = join(directory, `${uid}.token`)
  writeFileSync(tokenFile, token, { mode: 0o600 })
  const [port, health] = [await freePort(), await freePort()]
  const container = pod.spec.initContainers?.find((one) => one.name === 'pod2iam-sidecar')
  const injected = Object.fromEntries((container?.env ?? []).map((entry) => [entry.name, entry.value ?? '']))
  const process = new Process('sidecar', [], {
    ...injected,
    POD2IAM_BROKER_URL: brokerUrl,
    POD2IAM_TOKEN_FILE: tokenFile,
    POD2IAM_LISTEN_PORT: String(port),
    POD2IAM_HEALTH_PORT: String(health),
    POD2IAM_SELF_TEST: 'off',
    POD2IAM_STATE_DIR: directory,
  })
  await process.ready(health)
  const url = `http://127.0.0.1:${port}`
  const get = async (path: string) => await (await fetch(url + path)).text()
  return { process, sidecar: { url, get, log: () => process.output } }
}

/** One of our processes, and its output. */
class Process {
  output = ''
  readonly #name: string
  readonly #child: ChildProcess

  constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#name = name
    this.#child = spawn(process.execPath, [`${PROJECT}dist/${name}.cjs`, ...args], {
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk) => {
        this.output += chunk
      })
  }

  /** Waits for `/readyz`. */
  async ready(healthPort: number): Promise<void> {
    const isReady = async () => {
      if (this.#child.exitCode !== null) throw new Hopeless(`the ${this.#name} has ended:\n${this.output}`)
      return (await fetch(`http://127.0.0.1:${healthPort}/readyz`)).ok
    }
    await eventually(`the ${this.#name} is ready`, isReady, { detail: () => this.output })
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill(signal)
    await ended
  }
}
