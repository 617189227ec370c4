/** Processes inside a machine's namespaces. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Machine } from './machine.ts'
import { DEFAULT_PATH, tool } from './tools.ts'

export type SpawnOptions = {
  /** Default: this process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Default: this process's. */
  readonly cwd?: string
  readonly stdio?: StdioOptions
  /** Both need a machine of kind `root`. */
  readonly uid?: number
  readonly gid?: number
}

export type ExecOptions = Omit<SpawnOptions, 'stdio'> & {
  /** Milliseconds until SIGKILL; default 30,000; `Infinity` for none. */
  readonly timeout?: number
  /** Written to stdin. */
  readonly input?: string
}

export type ExecResult = {
  /** Exit code of the process; 128 + signal if a signal ended it, as in a shell. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Milliseconds from spawn to end. */
  readonly ms: number
  readonly timedOut: boolean
}

/** The number of bytes that are kept of each output of a one-shot command. */
const OUTPUT_LIMIT = 8 * 1024 * 1024

/** Starts a long-lived process in a network namespace of the machine. It ends at the latest with the machine. */
export function spawnIn(
  machine: Machine,
  network: string,
  argv: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  const { env = process.env, cwd = process.cwd(), stdio = 'pipe', uid, gid } = options
  const identity = [
    ...(uid === undefined ? [] : [`--reuid=${uid}`, '--clear-groups']),
    ...(gid === undefined ? [] : [`--regid=${gid}`]),
  ]
  // PDEATHSIG, because nsenter forks to enter the PID namespace, and its child must end when nsenter is killed.
  const setpriv = [tool('setpriv'), '--pdeathsig=KILL', ...identity, '--']
  const chdir = ['/bin/sh', '-c', 'cd "$0" && exec "$@"', cwd]
  return spawnEntered([...machine.enter(network), '--', ...setpriv, ...chdir, ...argv], 1, {
    // The path of an ordinary user lacks the sbin directories, which contain nft and ip.
    env: { ...env, PATH: env.PATH === undefined ? DEFAULT_PATH : `${env.PATH}:/usr/sbin:/sbin` },
    stdio,
  })
}

/** Runs a command in a network namespace of the machine to its end. */
export function execIn(
  machine: Machine,
  network: string,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  return collect(() => spawnIn(machine, network, argv, { ...options, stdio: 'pipe' }), options)
}

/**
 * Spawns nsenter(1). The actual process is a descendant of it, and `kill()` of the returned child signals that one.
 *
 * @param depth the number of forks between nsenter and the actual process
 */
export function spawnEntered(
  args: readonly string[],
  depth: number,
  options: { env: Readonly<Record<string, string | undefined>>; stdio: StdioOptions },
): ChildProcess {
  const child = spawn(tool('nsenter'), args, { ...options, detached: true })
  const killNsenter = child.kill.bind(child)
  child.kill = (signal = 'SIGTERM') => {
    const pid = child.exitCode === null ? descendant(child.pid, depth) : undefined
    return pid === undefined ? killNsenter(signal) : signalPid(pid, signal)
  }
  return child
}

/** Collects the output of a process until its end, killing it when it takes too long. */
export async function collect(
  start: () => ChildProcess,
  options: { timeout?: number; input?: string } = {},
): Promise<ExecResult> {
  const started = performance.now()
  const child = start()
  const stdout = gather(child.stdout)
  const stderr = gather(child.stderr)
  child.stdin?.on('error', () => {}) // EPIPE: the command did not want its input
  child.stdin?.end(options.input ?? '')
  let timedOut = false
  const kill = () => {
    timedOut = true
    child.kill('SIGKILL')
  }
  const { timeout = 30_000 } = options
  const timer = Number.isFinite(timeout) ? setTimeout(kill, timeout) : undefined
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => resolve(exitCode(status, signal)))
  }).finally(() => clearTimeout(timer))
  return { code, stdout: stdout(), stderr: stderr(), ms: performance.now() - started, timedOut }
}

/** How a process ended, as one number: its status, or 128 + the signal. */
export function exitCode(status: number | null, signal: NodeJS.Signals | null): number {
  return status ?? 128 + (SIGNALS[signal ?? ''] ?? 0)
}

const SIGNALS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
}

function gather(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = []
  let size = 0
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size <= OUTPUT_LIMIT) chunks.push(chunk)
  })
  return () => Buffer.concat(chunks).toString()
}

/** The first child of the first child … of a process, `depth` times; undefined while it does not exist. */
export function descendant(pid: number | undefined, depth: number): number | undefined {
  if (pid === undefined || depth === 0) return pid
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return children === '' ? undefined : descendant(Number(children.split(' ')[0]), depth - 1)
  } catch {
    return undefined
  }
}

/** Signals a process; false when it is gone. */
export function signalPid(pid: number, signal: NodeJS.Signals | number): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}
