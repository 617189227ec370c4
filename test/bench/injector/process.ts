/** The built injector as a process of its own, with a stand-in for the API server on loopback. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { gzipSync } from 'node:zlib'
import { buildComponent } from '../../../build.ts'
import { KEYS } from '../../../common/keys.ts'
import { type Authority, authority } from '../../injector/certificates.ts'
import { fakeApi } from '../../injector/fake-api.ts'
import { IMAGES, namespace } from '../../injector/fixtures.ts'
import { freePort } from '../../support/free-port.ts'
import { until } from '../../support/until.ts'

export type TextAnswer = { readonly status: number; readonly text: string }

/**
 * Sends a POST over a connection of its own, and reads the whole answer.
 *
 * @param packed `gzip` for a compressed body
 */
export async function exchangeText(
  { agent, port }: Pick<RunningInjector, 'agent' | 'port'>,
  path: string,
  body: string,
  headers: Readonly<Record<string, string>> = {},
  packed?: 'gzip',
): Promise<TextAnswer> {
  const sent = request({
    ...{ agent, port, host: '127.0.0.1', method: 'POST', path },
    headers: { 'Content-Type': 'application/json', ...headers },
  })
  sent.end(packed === 'gzip' ? gzipSync(body) : body)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return { status: response.statusCode ?? 0, text }
}

/** The flags of node in the injector's container; they work only on the command line (injector/README.md). */
export const NODE_FLAGS: readonly string[] = [
  '--optimize-for-size',
  '--v8-pool-size=0',
  '--max-old-space-size=96',
]

export type RunningInjector = {
  readonly pid: number
  readonly port: number
  readonly healthPort: number
  readonly isAlive: () => boolean
  /** Sends requests over TLS, each on a connection of its own. */
  readonly agent: Agent
  /** The certificate, PEM, that its connections are verified with. */
  readonly ca: string
  /** Opens a TLS connection to it. */
  readonly dial: (port: number) => Promise<Socket>
  /** Sends SIGTERM; resolves with its exit code, or null if it had to be killed. */
  readonly terminate: () => Promise<number | null>
  readonly end: () => Promise<void>
}

/**
 * Builds it, starts it as its container does with a stand-in for the API server, and waits until it is ready.
 *
 * @param pods the pods that it watches at the API server
 * @param flags of node
 * @param options a bundle of another release, and a cgroup
 */
export async function startInjector(
  pods: readonly unknown[] = [],
  flags: readonly string[] = NODE_FLAGS,
  options: Pick<BundleOptions, 'bundle' | 'cgroupProcs'> = {},
): Promise<RunningInjector> {
  const { name, labels, annotations } = namespace()
  const namespaces = {
    [name]: { labels, annotations },
    other: { annotations },
    everybody: { labels: { ...labels, [KEYS.injection]: 'all' }, annotations },
  }
  const api = await fakeApi(namespaces, pods)
  try {
    const injector = await startBundle({ kubeconfig: api.kubeconfig, flags, ...options })
    const end = async () => {
      await injector.end()
      await api.close()
    }
    return { ...injector, end }
  } catch (error) {
    await api.close()
    throw error
  }
}

export type BundleOptions = {
  readonly kubeconfig: string
  /** The flags of node. */
  readonly flags?: readonly string[]
  /** Built from the sources unless it is given. */
  readonly bundle?: string
  /** The file of a cgroup to which the process writes its id before it starts Node. */
  readonly cgroupProcs?: string
  /** The certificate that it serves with; one of its own unless it is given. */
  readonly authority?: Authority
  /** Further flags of the injector. */
  readonly settings?: readonly string[]
}

/** Builds it, starts it as its container does and waits until it is ready. */
export async function startBundle(options: BundleOptions): Promise<RunningInjector> {
  const { kubeconfig, flags = NODE_FLAGS, cgroupProcs, settings = [] } = options
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bench-'))
  const ca = options.authority ?? (await authority())
  const bundle = options.bundle ?? join(directory, 'injector.cjs')
  if (options.bundle === undefined) await buildComponent('injector', bundle)
  const leaf = await ca.leaf()
  const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')]
  await Promise.all([writeFile(cert, leaf.cert), writeFile(key, leaf.key)])
  const [port, healthPort] = [await freePort(), await freePort()]
  const argv = [
    ...[process.execPath, ...flags, bundle, ...IMAGES, `--kubeconfig=${kubeconfig}`],
    ...[`--tls-cert-file=${cert}`, `--tls-key-file=${key}`, `--port=${port}`, `--health-port=${healthPort}`],
    ...settings,
  ]
  const enter = cgroupProcs === undefined ? '' : `echo $$ >'${cgroupProcs}' && `
  const child = spawn('/bin/sh', ['-c', `${enter}exec "$@"`, 'sh', ...argv], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {},
  })
  const closed = once(child, 'close')
  const end = async () => {
    child.kill('SIGKILL')
    await closed
    await rm(directory, { recursive: true, force: true })
  }
  const terminate = async () => {
    child.kill('SIGTERM')
    const [code] = (await closed) as [number | null]
    return code
  }
  const isAlive = () => child.exitCode === null && child.signalCode === null
  const isReady = () =>
    fetch(`http://127.0.0.1:${healthPort}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
  try {
    await until(isReady)
  } catch (error) {
    await end()
    throw error
  }
  const dial = async (to: number): Promise<Socket> => {
    const socket = connect({ port: to, host: '127.0.0.1', ca: ca.pem })
    socket.setNoDelay(true).setEncoding('latin1')
    await once(socket, 'secureConnect')
    return socket
  }
  const agent = new Agent({ ca: ca.pem })
  return { pid: child.pid ?? 0, port, healthPort, agent, ca: ca.pem, isAlive, dial, terminate, end }
}
