import { spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'

/** The result of a command. `code` is its exit code, or why there is none. */
export type ExecResult = {
  readonly code: number | 'missing' | 'timeout' | 'signal'
  readonly stdout: string
  readonly stderr: string
}

type ExecOptions = {
  readonly timeoutMs?: number
  /** Written to its standard input, which is otherwise closed. */
  readonly input?: string
  /** Which lines of output are kept: the whole ruleset of a node is megabytes, and we need a few lines of it. */
  readonly keepLine?: (line: string) => boolean
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
  /** Runs at the lowest priority; not for a command that holds a lock of the kernel. */
  readonly lowPriority?: boolean
}

/** Runs a command to its end; never throws. It is a parameter everywhere, so that tests can make commands fail. */
export type Exec = (command: string, args: readonly string[], options?: ExecOptions) => Promise<ExecResult>

/** nft takes about 10 ms; if it takes ten seconds, the machine is overloaded, and trying again is better than waiting. */
const TIMEOUT_MS = 10_000
const MAX_OUTPUT = 4 * 1024 * 1024

/** Environment for nft and ip: PATH includes the system directories, and messages are in English, since we parse them. */
export function toolEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...env, PATH: [env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(':'), LC_ALL: 'C' }
}

/** {@link Exec} by real processes. Output beyond 4 MiB is cut. */
export const exec: Exec = (
  command,
  args,
  { timeoutMs = TIMEOUT_MS, input, keepLine, env, lowPriority } = {},
) =>
  new Promise((resolve) => {
    const child = spawn(command, args, {
      env: { ...toolEnvironment(), ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    })
    if (lowPriority && child.pid !== undefined) lowerPriority(child.pid)
    // EPIPE: the command ended without reading; its exit code says why.
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
    const output = { stdout: '', stderr: '' }
    const lines = keepLine && lineFilter(keepLine)
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
    }, timeoutMs)
    for (const name of ['stdout', 'stderr'] as const)
      child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
        if (output[name].length < MAX_OUTPUT)
          output[name] += lines && name === 'stdout' ? lines(chunk) : chunk
      })
    child.on('error', (error) => {
      clearTimeout(timer)
      resolve({ ...output, code: 'missing', stderr: error.message })
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ ...output, code: timedOut ? 'timeout' : (code ?? 'signal') })
    })
  })

/** The process may have ended already, so errors are ignored. */
function lowerPriority(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW)
  } catch {}
}

/** Passes on the whole lines of a chunked text that are to be kept. */
function lineFilter(keepLine: (line: string) => boolean): (chunk: string) => string {
  let rest = ''
  return (chunk) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    return lines
      .filter(keepLine)
      .map((line) => `${line}\n`)
      .join('')
  }
}

/** The first line of what a command wrote to stderr, bounded; without one, its exit code. */
export function firstLine({ code, stderr }: ExecResult): string {
  const line = stderr.split('\n').find((candidate) => candidate.trim() !== '')
  return line?.trim().slice(0, 300) ?? `exit code ${code}`
}

/** Whether a command failed because it ran out of memory, or was killed, which may have the same cause. */
export const isTooBig = ({ code, stderr }: ExecResult): boolean =>
  code === 'signal' ||
  /memory allocation (?:problem|failure)|cannot allocate memory|out of memory|failed to map segment/i.test(
    stderr,
  )

/** Whether nft reports that this kernel lacks what the rules need. */
export function isUnsupported({ stderr }: ExecResult): boolean {
  if (/operation not permitted|permission denied/i.test(stderr)) return false
  return /cache initialization failed|not supported|could not process rule: no such file/i.test(stderr)
}

/** Why nft or ip failed: one sentence, with the remedy where one is known. */
export function whyFailed(command: 'nft' | 'ip', result: ExecResult): string {
  const { code, stderr } = result
  const message = firstLine(result)
  if (code === 'missing')
    return `${command} cannot be run (${message}): use the pod2iam image, or install ${command === 'nft' ? 'nftables' : 'iproute2'}`
  if (code === 'timeout')
    return `${command} did not end in time: the machine is overloaded or its netlink is stuck`
  if (/operation not permitted|permission denied|must be root/i.test(stderr))
    return `${command} was not permitted to work (${message}): run this container as root with the NET_ADMIN capability`
  if (command === 'nft' && isUnsupported(result))
    return `this kernel cannot do what the rules need (${message}): load the modules nf_tables, nft_reject_inet, nft_fib_inet and nft_chain_nat`
  return `${command} failed: ${message}`
}
