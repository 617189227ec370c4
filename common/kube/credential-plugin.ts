/**
 * Runs the credential plugin of a kubeconfig (`exec`) within bounds. `ExecAuth` of @kubernetes/client-node limits neither its time
 * nor its output, and repeats its output in errors, which is a token or a part of one.
 */
import { type SpawnOptions, spawn } from 'node:child_process'

/** Bytes on stdout or stderr: an ExecCredential with certificates has some ten thousand. */
const MAX_OUTPUT = 1024 * 1024
const MAX_SHOWN = 300

export type PluginRunner = ReturnType<typeof pluginRunner>

/**
 * A stand-in for `child_process.spawn`.
 *
 * @param timeoutMs for one run; then its whole process group is killed
 */
export function pluginRunner(timeoutMs: number) {
  let problem: string | undefined
  const run = (command: string, args: readonly string[] = [], options: SpawnOptions = {}) => {
    problem = undefined
    // A separate process group, so that processes started by a script do not keep its output open after it was killed.
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const stop = (why: string) => {
      problem ??= why
      if (child.pid !== undefined) killGroup(child.pid)
    }
    const timer = setTimeout(() => stop(`did not end within ${timeoutMs / 1000} s`), timeoutMs)
    let stderr = ''
    for (const stream of [child.stdout, child.stderr]) {
      let size = 0
      stream?.on('data', (chunk: string) => {
        size += chunk.length
        if (stream === child.stderr && size <= MAX_OUTPUT) stderr += chunk
        if (size > MAX_OUTPUT) stop(`printed more than ${MAX_OUTPUT / 1024 / 1024} MiB`)
      })
    }
    child.on('error', (error: NodeJS.ErrnoException) => {
      problem ??= `could not be started (${error.code ?? error.name})`
    })
    child.prependListener('close', (code, signal) => {
      clearTimeout(timer)
      if (code !== 0) problem ??= `ended with ${code === null ? signal : `code ${code}`}${lastLine(stderr)}`
    })
    return child
  }
  return {
    spawn: run,
    /** Why the last run failed, as the predicate of a sentence, or undefined where it ended with 0. */
    problem: () => problem,
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended in the meantime.
  }
}

/** The last line that is not empty, without anything that is long enough to be a secret. */
function lastLine(text: string): string {
  const line = (text.trim().split('\n').at(-1) ?? '').replace(/\p{Cc}/gu, ' ')
  const shown = line.replace(/[\w.~+/=-]{40,}/g, '…').slice(0, MAX_SHOWN)
  return shown === '' ? '' : `: ${shown}`
}
