/** Sidecars and bare listeners as processes of their own, and the requests that they get. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { freshToken, loopbackEnv, requestBytes, type Workshop } from '../../sidecar/support/index.ts'
import { freePort } from '../../support/free-port.ts'
import { until } from '../../support/until.ts'
import { exchange, opened } from '../load.ts'

/** The flags of node in the sidecar's container; they work only on the command line (sidecar/README.md). */
export const NODE_FLAGS = ['--max-semi-space-size=1', '--v8-pool-size=0'] as const
/** What its image sets for glibc: memory that is not needed after the start is returned to the kernel. */
const MALLOC = { MALLOC_TRIM_THRESHOLD_: '4096', MALLOC_TOP_PAD_: '0' } as const

export const ROLE_PATH = '/latest/meta-data/iam/security-credentials/reader'

export type Started = {
  readonly child: ChildProcess
  readonly pid: number
  readonly port: number
  readonly end: () => Promise<void>
}

export type SidecarOptions = {
  readonly workshop: Workshop
  readonly brokerUrl: string
  /** Flags of node; by default {@link NODE_FLAGS}. */
  readonly flags?: readonly string[]
  readonly bundle?: string
  /** The `cgroup.procs` of a cgroup in which it is started. */
  readonly cgroupProcs?: string
}

/** `startedAt` is performance.now() just before the start. */
export type SpawnedSidecar = Started & { readonly startedAt: number; readonly healthPort: number }

/** Starts a sidecar on a free port. It may not listen yet. */
export async function spawnSidecar(options: SidecarOptions): Promise<SpawnedSidecar> {
  const { workshop, brokerUrl, flags = NODE_FLAGS, bundle = workshop.bundle, cgroupProcs } = options
  const [port, healthPort] = [await freePort(), await freePort()]
  const ports = { POD2IAM_LISTEN_PORT: String(port), POD2IAM_HEALTH_PORT: String(healthPort) }
  const env = { ...loopbackEnv(workshop, brokerUrl), ...MALLOC, ...ports }
  return { ...start([process.execPath, ...flags, bundle], env, port, cgroupProcs), healthPort }
}

/** A bare node:http listener with the sidecar's flags: no Node.js server can use less. */
export async function spawnBare(
  workshop: Workshop,
  flags: readonly string[] = NODE_FLAGS,
): Promise<Started & { startedAt: number }> {
  const port = await freePort()
  const script = join(import.meta.dirname, 'bare.cjs')
  const env = { ...MALLOC, PORT: String(port), PWD: workshop.directory }
  return start([process.execPath, ...flags, script], env, port)
}

function start(command: readonly string[], env: NodeJS.ProcessEnv, port: number, cgroupProcs?: string) {
  const [file = '', ...args] =
    cgroupProcs === undefined
      ? command
      : ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', cgroupProcs, ...command]
  const startedAt = performance.now()
  const child = spawn(file, args, { env, stdio: ['ignore', 'ignore', 'inherit'] })
  const closed = once(child, 'close')
  const end = async () => {
    child.kill('SIGKILL')
    await closed
  }
  return { child, pid: child.pid ?? 0, port, end, startedAt }
}

/** A document request with a session token of this sidecar. */
export async function documentRequest(port: number): Promise<string> {
  const token = await freshToken(port)
  return requestBytes({ path: ROLE_PATH, headers: { 'X-aws-ec2-metadata-token': token } })
}

/** Polls often enough that the wait adds little to what is measured. */
const FINE = { pollMs: 2 }

/** Repeats the request until the answer is 200; resolves with performance.now() then. */
export async function first200({ child, port }: Started, path = '/'): Promise<number> {
  const bytes = requestBytes({ path, headers: { Connection: 'close' } })
  await until(
    'the first 200',
    async () => {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`)
      const socket = await opened(port).catch(() => undefined)
      const status = socket && (await exchange(socket, bytes).catch(() => undefined))
      socket?.destroy()
      return status === 200
    },
    FINE,
  )
  return performance.now()
}

/** Waits until it serves credentials. */
export const firstDocument = (started: Started): Promise<number> => first200(started, ROLE_PATH)
