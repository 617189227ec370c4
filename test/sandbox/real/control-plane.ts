/** etcd, kube-apiserver and kube-controller-manager with the flags that kubeadm sets, as far as one machine allows. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../support/free-port.ts'
import { until } from '../../support/until.ts'
import type { Spawn } from '../kube/client/client.ts'
import { KubeClient } from '../kube/client/kube-client.ts'
import { API_SOCKET, type ListenAddress } from '../kube/server/protocol.ts'
import type { Credentials } from './credentials.ts'
import type { Program } from './logged.ts'
import { startProgram } from './programs.ts'

export type Settings = {
  readonly directory: string
  readonly listen: readonly ListenAddress[]
  readonly issuer: string
  readonly credentials: Credentials
  /** Starts processes in a network namespace of their own; then the API server is reached through a unix socket. */
  readonly spawn?: Spawn
}

export type ControlPlane = {
  readonly api: Program
  readonly etcdUrl: string
  /** Restarts the API server with the same objects; it remembers no former versions. */
  readonly restartApi: (downMs?: number) => Promise<void>
  /** The program that ended although it should run, with its last output. */
  readonly ended: () => string | undefined
  readonly stop: () => Promise<void>
}

/** Beside other tests, what takes ten seconds on an idle machine takes minutes. */
const PATIENCE = { deadlineMs: 300_000, pollMs: 50 }
const RELAY = fileURLToPath(new URL('relay.ts', import.meta.url))

/** All controllers except the one that gives addresses to nodes, and the one that deletes pods which are bound to a missing node. */
const CONTROLLERS = ['*', '-node-ipam-controller', '-pod-garbage-collector-controller']

/** @throws Error with the last output of the program that did not start */
export async function startControlPlane(settings: Settings): Promise<ControlPlane> {
  const { directory, spawn } = settings
  const path = (name: string) => join(directory, name)
  const start = (name: string, args: readonly string[]) =>
    startProgram(name, args, path(`${name}.log`), spawn)
  // In a namespace of its own, no other process uses the ports.
  const [client, peers] = spawn === undefined ? await Promise.all([freePort(), freePort()]) : [2379, 2380]
  const etcdUrl = `http://127.0.0.1:${client}`
  const apiArgs = apiServerFlags(settings, etcdUrl)
  const running: Program[] = []
  let api: Program | undefined
  const startApi = async () => {
    api = start('kube-apiserver', apiArgs)
    await ready(settings, api)
    return api
  }
  const stop = async () => {
    await Promise.all([...running, api].map((program) => program?.kill()))
  }
  try {
    running.push(start('etcd', etcdFlags(path('etcd'), etcdUrl, `http://127.0.0.1:${peers}`)))
    if (spawn !== undefined) await relay(settings, spawn)
    const first = await startApi()
    running.push(start('kube-controller-manager', controllerManagerFlags(settings)))
    return {
      api: first,
      etcdUrl,
      async restartApi(downMs = 0) {
        await api?.kill()
        await new Promise((resolve) => setTimeout(resolve, downMs))
        await startApi()
      },
      ended: () => running.map((program) => program.ended()).find((why) => why !== undefined),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Waits until the API server reports that it is ready, or has ended. */
async function ready({ directory, listen, credentials, spawn }: Settings, api: Program): Promise<void> {
  const [{ host, port } = { host: '127.0.0.1', port: 0 }] = listen
  const place = spawn === undefined ? { host, port } : { socketPath: join(directory, API_SOCKET) }
  const kube = new KubeClient({ ...place, caPem: credentials.caPem, token: () => credentials.adminToken })
  let body: string | undefined
  const isReady = async () => {
    const ended = api.ended()
    if (ended !== undefined) throw new Error(ended)
    const answer = await kube.request('GET', '/readyz').catch(() => undefined)
    body = answer?.body
    return answer?.status === 200
  }
  try {
    await until('the API server is ready', isReady, { ...PATIENCE, detail: () => String(body) })
  } finally {
    kube.close()
  }
}

async function relay({ directory, listen }: Settings, spawn: Spawn): Promise<void> {
  const [{ host, port } = { host: '127.0.0.1', port: 0 }] = listen
  const socket = join(directory, API_SOCKET)
  const child = spawn(process.execPath, [RELAY, socket, host, String(port)], { stdio: 'ignore' })
  child.unref()
  const hasStarted = () => {
    if (child.exitCode !== null) throw new Error('The relay did not start.')
    return existsSync(socket)
  }
  await until('the relay listens', hasStarted, PATIENCE)
  await Promise.race([once(child, 'spawn'), Promise.resolve()])
}

function etcdFlags(directory: string, client: string, peers: string): string[] {
  return [
    `--data-dir=${directory}`,
    // The data that a power cut would lose are not kept anyway.
    '--unsafe-no-fsync',
    '--log-level=warn',
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peers}`,
    `--initial-advertise-peer-urls=${peers}`,
    `--initial-cluster=default=${peers}`,
  ]
}

function apiServerFlags({ directory, listen, issuer }: Settings, etcdUrl: string): string[] {
  const path = (name: string) => join(directory, name)
  const [{ host, port } = { host: '127.0.0.1', port: 0 }, ...more] = listen
  return [
    `--etcd-servers=${etcdUrl}`,
    `--bind-address=${more.length > 0 ? '::' : host}`,
    `--secure-port=${port}`,
    // Nobody uses it through the Service `kubernetes`, because there is no kube-proxy.
    '--endpoint-reconciler-type=none',
    `--advertise-address=${host.startsWith('127.') ? '192.0.2.1' : host}`,
    `--tls-cert-file=${path('api.crt')}`,
    `--tls-private-key-file=${path('api.key')}`,
    `--client-ca-file=${path('ca.crt')}`,
    // kubeadm's clients use certificates; those of the tests use tokens of the same users.
    `--token-auth-file=${path('tokens.csv')}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged=true',
    `--service-account-issuer=${issuer}`,
    `--service-account-key-file=${path('sa.pub')}`,
    `--service-account-signing-key-file=${path('sa.key')}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    // It calls webhooks of Services at the addresses of their pods, for the same reason.
    '--enable-aggregator-routing=true',
    `--audit-policy-file=${path('audit-policy.json')}`,
    `--audit-log-path=${path('audit.log')}`,
    '--profiling=false',
  ]
}

function controllerManagerFlags({ directory }: Settings): string[] {
  const path = (name: string) => join(directory, name)
  const kubeconfig = path('controller-manager.json')
  return [
    `--kubeconfig=${kubeconfig}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    `--service-account-private-key-file=${path('sa.key')}`,
    `--root-ca-file=${path('ca.crt')}`,
    '--use-service-account-credentials=true',
    '--allocate-node-cidrs=false',
    '--leader-elect=false',
    '--secure-port=0',
    // The sandbox's nodes send no heartbeats.
    '--node-monitor-grace-period=24h',
    '--node-startup-grace-period=24h',
    `--controllers=${CONTROLLERS.join(',')}`,
  ]
}
