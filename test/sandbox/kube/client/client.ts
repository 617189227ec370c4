/** Starts the sandbox's API server and has everything that a test needs to access it. */
import { type ChildProcess, spawn as nodeSpawn, type SpawnOptions } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hostPort } from '../../../../common/addresses.ts'
import { freePort } from '../../../support/free-port.ts'
import type { Judged } from '../admission/admission-policies.ts'
import type { FaultRule } from '../server/faults.ts'
import {
  API_SOCKET,
  CONTROL_SOCKET,
  type ControlCommand,
  type ListenAddress,
  type Ready,
  type ServerConfig,
} from '../server/protocol.ts'
import type { Call } from '../server/routes.ts'
import { type Authority, createAuthority, type KeyPair, type Validity } from './certificates.ts'
import { KubeClient } from './kube-client.ts'
import { firstLine, sendCommand } from './process.ts'

export type { KubeObject, ObjectMeta } from '../objects/objects.ts'
export { ApiError, isApiError } from '../objects/status.ts'
export type { FaultRule } from '../server/faults.ts'
export type { Call } from '../server/routes.ts'
export { KubeClient } from './kube-client.ts'
export type { WatchEvent } from './watch-client.ts'

export type Spawn = (command: string, args: readonly string[], options: SpawnOptions) => ChildProcess

export type ApiServerOptions = {
  /** Existing or new directory for the sockets and kubeconfigs; its path must be short, because that of a unix socket has at most 107 bytes. */
  readonly directory: string
  /** TCP addresses; port 0 chooses one that no other process takes while the server refuses connections. Default: one on 127.0.0.1. */
  readonly listen?: readonly ListenAddress[]
  /** Names and addresses added to the serving certificate (those of `listen` are in it). */
  readonly dnsNames?: readonly string[]
  readonly ips?: readonly string[]
  /** Starts the process elsewhere, e.g. in a network namespace. stdin, stdout and stderr must be piped through. */
  readonly spawn?: Spawn
  /** `iss` of the tokens and the API server's own audience. */
  readonly issuer?: string
  /** The server's clock runs this far ahead of (or behind) the machine's. */
  readonly clockOffsetMs?: number
  /** How often watches that allow it get a bookmark (60 s on a real server). */
  readonly bookmarkMs?: number
  /** Whether DaemonSets, Deployments, Jobs… create pods and pods are scheduled. Default true. */
  readonly controllers?: boolean
}

const MAIN = fileURLToPath(new URL('../server/main.ts', import.meta.url))
const SOCKET_PATH_LIMIT = 107
const STOP_TIMEOUT_MS = 30_000
export const DEFAULT_ISSUER = 'https://kubernetes.default.svc.cluster.local'
export const DNS_NAMES = [
  'kubernetes.default.svc',
  'kubernetes',
  'kubernetes.default',
  'kubernetes.default.svc.cluster.local',
  'localhost',
]

/** The server must not keep the test process alive; when that ends, the server ends by itself. */
function release(child: ChildProcess): void {
  child.unref()
  for (const stream of [child.stdin, child.stdout, child.stderr])
    if (stream !== null && 'unref' in stream && typeof stream.unref === 'function') stream.unref()
}

/** Another API server in place of the stand-in, for suites that check the stand-in against it. */
export type Implementation = {
  readonly start: (options: ApiServerOptions) => Promise<ApiServer>
  /** The minor version of its Kubernetes: 37 for 1.37.2. */
  readonly minor: number
}
let implementation: Implementation | undefined

/** Whether suites run against the stand-in, which can do what a real server cannot: change its clock, fail on demand. */
export const isStandIn = () => implementation === undefined

/**
 * Options for tests of something that an older Kubernetes does not have: they are left out by name when such a server is used. The stand-in has everything.
 *
 * @param minor the first version that has it by default
 * @param what "Kubernetes 1.29 has no …"
 */
export function sinceKubernetes(minor: number, what: string): { skip?: string } {
  if (implementation === undefined || implementation.minor >= minor) return {}
  return { skip: `Kubernetes 1.${implementation.minor} has no ${what}` }
}

/** The 1.N of the Kubernetes that is used instead of the stand-in; undefined: none. */
export const judgingMinor = () => implementation?.minor

/** From now on `ApiServer.start` in this process starts this one (`../../real/`); undefined: the stand-in again. */
export function startInstead(other: Implementation | undefined): void {
  implementation = other
}

export class ApiServer {
  readonly directory: string
  readonly caPem: string
  /** The TCP addresses with their real ports. */
  readonly addresses: readonly ListenAddress[]
  /** Cluster admin, through the unix socket: works also when faults are on, and from another network namespace. */
  readonly admin: KubeClient
  readonly adminToken: string
  readonly issuer: string
  readonly pid: number
  readonly #child: ChildProcess
  readonly #authority: Authority
  #kubeconfigs = 0

  protected constructor(
    child: ChildProcess,
    config: Pick<ServerConfig, 'directory' | 'adminToken' | 'issuer'>,
    ready: Ready,
    authority: Authority,
  ) {
    this.#child = child
    this.#authority = authority
    this.directory = config.directory
    this.caPem = authority.caPem
    this.addresses = ready.listen
    this.adminToken = config.adminToken
    this.issuer = config.issuer
    this.pid = child.pid ?? 0
    this.admin = this.unixClient(config.adminToken)
  }

  /** Waits until a webhook whose pod has just become ready is called: at once here, a moment later with a real server. */
  async webhooksReached(): Promise<void> {}

  /**
   * Starts the server and waits until it answers.
   *
   * @throws Error when it does not start
   */
  static async start(options: ApiServerOptions): Promise<ApiServer> {
    if (implementation !== undefined) return implementation.start(options)
    const { directory, spawn = nodeSpawn } = options
    const wanted = options.listen ?? [{ host: '127.0.0.1', port: 0 }]
    const listen = await Promise.all(
      wanted.map(async ({ host, port }) => ({ host, port: port === 0 ? await freePort() : port })),
    )
    if (join(directory, CONTROL_SOCKET).length > SOCKET_PATH_LIMIT)
      throw new Error(`The directory ${directory} is too long for unix sockets; choose a shorter one.`)
    await mkdir(directory, { recursive: true })
    await Promise.all([API_SOCKET, CONTROL_SOCKET].map((name) => rm(join(directory, name), { force: true })))
    const child = spawn(process.execPath, [MAIN], { stdio: ['pipe', 'pipe', 'pipe'] })
    try {
      // The process starts while the certificates are created.
      const authority = await createAuthority('pod2iam sandbox CA')
      const ips = [
        '127.0.0.1',
        '::1',
        ...listen.map(({ host }) => host).filter((host) => isIP(host) !== 0),
        ...(options.ips ?? []),
      ]
      const names = listen.map(({ host }) => host).filter((host) => isIP(host) === 0)
      const dnsNames = [...new Set([...DNS_NAMES, ...names, ...(options.dnsNames ?? [])])]
      const leaf = await authority.issue(dnsNames, [...new Set(ips)])
      const issuer = options.issuer ?? DEFAULT_ISSUER
      const config: ServerConfig = {
        directory,
        listen,
        ...leaf,
        caPem: authority.caPem,
        adminToken: randomBytes(24).toString('base64url'),
        issuer,
        apiAudiences: [issuer],
        clockOffsetMs: options.clockOffsetMs ?? 0,
        bookmarkMs: options.bookmarkMs ?? 60_000,
        controllers: options.controllers ?? true,
      }
      const line = firstLine(child)
      child.stdin?.write(`${JSON.stringify(config)}\n`)
      const ready = JSON.parse(await line) as Ready
      release(child)
      return new ApiServer(child, config, ready, authority)
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
  }

  /** `https://host:port` of the first listener, or of the one on `address`. */
  url(address?: string): string {
    const found = this.addresses.find(({ host }) => address === undefined || host === address)
    if (found === undefined) throw new Error(`The API server does not listen on ${address}.`)
    return `https://${hostPort(found.host, found.port)}`
  }

  /** A client over the unix socket. */
  unixClient(token: string | undefined): KubeClient {
    return new KubeClient({
      socketPath: join(this.directory, API_SOCKET),
      caPem: this.caPem,
      token: () => token,
    })
  }

  /** A client over TCP: faults apply to it. */
  client(token: string | undefined, address?: string): KubeClient {
    const { hostname, port } = new URL(this.url(address))
    const host = hostname.replace(/^\[|\]$/g, '')
    return new KubeClient({ host, port: Number(port), caPem: this.caPem, token: () => token })
  }

  /**
   * Writes a kubeconfig that kubectl and client-node accept and returns its path.
   *
   * @param token default: the admin's
   * @param address which listener
   */
  async kubeconfig(token = this.adminToken, address?: string): Promise<string> {
    const path = join(this.directory, `kubeconfig-${++this.#kubeconfigs}.json`)
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'sandbox',
          cluster: {
            server: this.url(address),
            'certificate-authority-data': Buffer.from(this.caPem).toString('base64'),
          },
        },
      ],
      users: [{ name: 'user', user: { token } }],
      contexts: [{ name: 'sandbox', context: { cluster: 'sandbox', user: 'user', namespace: 'default' } }],
      'current-context': 'sandbox',
    }
    await writeFile(path, JSON.stringify(config), { mode: 0o600 })
    return path
  }

  /** A serving certificate signed by the sandbox's CA (`caPem`). */
  issueCertificate(
    dnsNames: readonly string[],
    ips: readonly string[] = [],
    validity: Validity = {},
  ): Promise<KeyPair> {
    return this.#authority.issue(dnsNames, ips, validity)
  }

  /** What tests do to the server. */
  protected control<T>(command: ControlCommand): Promise<T> {
    return sendCommand<T>(join(this.directory, CONTROL_SOCKET), command)
  }

  /** Adds a fault for requests over TCP; faults accumulate until `clearFaults`. */
  fault(rule: FaultRule): Promise<void> {
    return this.control({ command: 'fault', rule })
  }

  clearFaults(): Promise<void> {
    return this.control({ command: 'clearFaults' })
  }

  /** Nobody listens on the TCP addresses until `accept`; open connections are reset. */
  refuse(): Promise<void> {
    return this.control({ command: 'refuse' })
  }

  accept(): Promise<void> {
    return this.control({ command: 'accept' })
  }

  /** Not available for `downMs`, then on the same ports again with the same objects and keys; old watch versions are 410 unless `keepHistory`. */
  restart(options: { readonly downMs?: number; readonly keepHistory?: boolean } = {}): Promise<void> {
    const { downMs = 0, keepHistory = false } = options
    return this.control({ command: 'restart', downMs, keepHistory })
  }

  /** Ends every watch and returns how many there were. */
  cutWatches(how: 'clean' | 'reset' | 'expired' = 'clean'): Promise<number> {
    return this.control({ command: 'cutWatches', how })
  }

  /** Sends every watch that allows it a bookmark now. */
  bookmark(): Promise<void> {
    return this.control({ command: 'bookmark' })
  }

  /** Forgets history: watches and lists from an earlier version are 410. */
  compact(): Promise<void> {
    return this.control({ command: 'compact' })
  }

  /** A new signing key; the old one stays published unless `keepOld: false`. Returns the new key id. */
  rotateKeys(options: { readonly keepOld?: boolean } = {}): Promise<string> {
    return this.control({ command: 'rotateKeys', keepOld: options.keepOld ?? true })
  }

  /** Stops publishing all but the signing key. */
  dropOldKeys(): Promise<void> {
    return this.control({ command: 'dropOldKeys' })
  }

  /** Sets how far the server's clock is ahead of the machine's. */
  setClockOffset(milliseconds: number): Promise<void> {
    return this.control({ command: 'clock', offsetMs: milliseconds })
  }

  /** Every request that was authenticated and authorized, oldest first. */
  calls(options: { readonly clear?: boolean } = {}): Promise<Call[]> {
    return this.control({ command: 'calls', clear: options.clear ?? false })
  }

  /** Every evaluation of policies in force, oldest first. */
  judged(): Promise<Judged[]> {
    return this.control({ command: 'judged' })
  }

  /** How many watches are open. */
  watches(): Promise<number> {
    return this.control({ command: 'watches' })
  }

  /** Ends the process and removes its sockets. */
  async stop(): Promise<void> {
    this.admin.close()
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.stdin?.end()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await exited
    clearTimeout(timer)
    await Promise.all(
      [API_SOCKET, CONTROL_SOCKET].map((name) => rm(join(this.directory, name), { force: true })),
    )
  }
}
