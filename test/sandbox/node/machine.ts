/**
 * The isolation of one machine: a mount and a PID namespace (and a user namespace without root), with its
 * own `/run` and so its own named network namespaces. Two machines never see each other.
 *
 * Nothing needs to be cleaned up: when the machine's first process ends, the kernel ends every other process in
 * it, and mounts and namespaces are removed with them. That process reads a pipe whose other end only this process has,
 * so it ends after `close()` as well as after an exit, a signal or a SIGKILL of this process.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { namespaceSupport, USERNS_FLAGS } from './namespace-support.ts'
import { DEFAULT_PATH, tool } from './tools.ts'

/** A directory in the machine, on a tmpfs that ends with it. */
export const SANDBOX_DIR = '/run/sandbox'

export type Machine = {
  /** `userns`: one uid only. */
  readonly kind: 'root' | 'userns'
  /** PID of its first process, as seen from outside. */
  readonly pid: number
  /** The path by which this process reaches a file of the machine. */
  readonly path: (inside: string) => string
  /**
   * Arguments for nsenter(1) to enter the machine.
   *
   * @param network a named network namespace; without it, the machine's own, which has no links
   */
  readonly enter: (network?: string) => string[]
  /** Ends every process in it; resolves when they are gone. */
  readonly close: () => Promise<void>
}

const FIRST_PROCESS = `
mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns ${SANDBOX_DIR} || exit 1
read -r pid rest </proc/self/stat
echo "$pid"
exec cat >/dev/null
`

/** Opens a machine (10-20 ms); throws a sentence if namespaces are not possible. */
export async function openMachine(): Promise<Machine> {
  const support = namespaceSupport()
  if (support.kind === 'none') throw new Error(support.reason)
  const userns = support.kind === 'userns'
  const flags = ['-m', '-p', '-n', '--fork', '--kill-child=SIGKILL']
  // A session of its own: Ctrl-C in the terminal is for this process, which then closes the pipe.
  const child = spawn(
    tool('unshare'),
    [...(userns ? USERNS_FLAGS : []), ...flags, 'sh', '-c', FIRST_PROCESS],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { PATH: DEFAULT_PATH },
      detached: true,
    },
  )
  const pid = await firstLine(child)
  unrefAll(child)
  const path = (inside: string) => `/proc/${pid}/root${inside}`
  return {
    kind: support.kind,
    pid,
    path,
    enter: (network) => [
      '-t',
      String(pid),
      ...(userns ? ['-U', '--preserve-credentials'] : []),
      '-m',
      '-p',
      network === undefined ? '-n' : `--net=${path(`/run/netns/${network}`)}`,
    ],
    close: async () => {
      child.ref()
      const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
      child.stdin?.end()
      await ended
    },
  }
}

async function firstLine(child: ChildProcess): Promise<number> {
  let stderr = ''
  child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  return await new Promise((resolve, reject) => {
    child.stdout?.once('data', (chunk) => resolve(Number(String(chunk).trim())))
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`the sandbox's first process ended: ${stderr.trim()}`)))
  })
}

/** A forgotten `close()` must not keep the test process alive; when that ends, the machine is closed. */
function unrefAll(child: ChildProcess): void {
  child.unref()
  for (const stream of [child.stdin, child.stdout, child.stderr])
    if (stream !== null && 'unref' in stream && typeof stream.unref === 'function') stream.unref()
}
