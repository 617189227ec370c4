import { spawn } from 'node:child_process'

/** What became of a command. `code` is its exit code, or why there is none. */
export type ExecResult = {
  readonly code: number | 'missing' | 'timeout' | 'signal'
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command to its end; never throws. Passed in everywhere, so that failures can be told in tests. */
export type Exec = (
  command: string,
  args: readonly string[],
  options?: { readonly timeoutMs?: number },
) => Promise<ExecResult>

/** nft takes some 10 ms; ten seconds mean a machine in trouble, and then a retry is better than a wait. */
const TIMEOUT_MS = 10_000
const MAX_OUTPUT = 4 * 1024 * 1024

/** Environment for nft and ip: found also where PATH lacks the system directories, and speaking English, which we read. */
export function toolEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...env, PATH: [env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(':'), LC_ALL: 'C' }
}

/** {@link Exec} by real processes. Output beyond 4 MiB is cut. */
export const exec: Exec = (command, args, { timeoutMs = TIMEOUT_MS } = {}) =>
  new Promise((resolve) => {
    const child = spawn(command, args, { env: toolEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] })
    const output = { stdout: '', stderr: '' }
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
    }, timeoutMs)
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (chunk: string) => {
        if (output[name].length < MAX_OUTPUT) output[name] += chunk
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

/** Why a command of ours failed, as one sentence with the remedy. */
export function whyFailed(command: 'nft' | 'ip', result: ExecResult): string {
  const { code, stderr } = result
  const said =
    stderr
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim()
      .slice(0, 300) ?? `exit code ${code}`
  if (code === 'missing')
    return `${command} cannot be run (${said}): use the pod2iam image, or install ${command === 'nft' ? 'nftables' : 'iproute2'}`
  if (code === 'timeout')
    return `${command} did not end in time: the machine is overloaded or its netlink is stuck`
  if (/operation not permitted|permission denied|must be root/i.test(stderr))
    return `${command} was not permitted to work (${said}): run this container as root with the NET_ADMIN capability`
  if (
    command === 'nft' &&
    /cache initialization failed|not supported|could not process rule: no such file/i.test(stderr)
  )
    return `this kernel cannot do what the rules need (${said}): load the modules nf_tables, nft_reject_inet, nft_fib_inet and nft_chain_nat`
  return `${command} failed: ${said}`
}
