/** One run of one container: its process, its output, and how to signal or enter it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { ContainerLog } from './container-log.ts'
import { StartError } from './errors.ts'
import { execute, type LaunchPlan, launchScript, STATUS_FD } from './launch-script.ts'
import type { Machine } from './machine.ts'
import { collect, type ExecOptions, type ExecResult, exitCode, signalPid, spawnEntered } from './process.ts'
import { DEFAULT_PATH } from './tools.ts'

export type Exit = { readonly code: number; readonly at: Date }

export type ContainerProcess = {
  /** Its PID 1, as seen from outside. */
  readonly pid: number
  readonly startedAt: Date
  readonly exit: Promise<Exit>
  /** Signals only PID 1; as in every PID namespace it ignores signals without a handler, except SIGKILL. */
  readonly signal: (signal: NodeJS.Signals) => boolean
  /** The command (for any root shell of this machine) that runs argv in the container. */
  readonly enter: (argv: readonly string[]) => string[]
  /** Runs argv in the container's namespaces and working directory, under its uid and environment. */
  readonly exec: (
    argv: readonly string[],
    options?: Pick<ExecOptions, 'timeout' | 'input'>,
  ) => Promise<ExecResult>
}

const NEW_NAMESPACES = ['unshare', '-m', '-p', '-u', '-i', '--']

/**
 * Its first child is PID 1 of the new PID namespace. A shell and not `unshare --fork`, which reports 1 for a child that was ended
 * by SIGKILL (util-linux 2.38); what the shell itself prints about that ("Killed") does not belong to the container's output.
 */
const PARENT = 'exec 5>&2 2>/dev/null; /bin/sh -c "$0" 2>&5 5>&-; exit $?'

const ENV = { PATH: DEFAULT_PATH }

/**
 * Starts a container (about 20 ms); resolves when its command is about to run.
 *
 * @param network the pod's network namespace
 * @throws StartError `RunContainerError` with what failed
 */
export async function startContainer(
  machine: Machine,
  network: string,
  plan: LaunchPlan,
  log: ContainerLog,
): Promise<ContainerProcess> {
  const child = spawnEntered(
    [...machine.enter(network), '--', ...NEW_NAMESPACES, '/bin/sh', '-c', PARENT, launchScript(plan)],
    2,
    { env: ENV, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] },
  )
  child.stdout?.on('data', (chunk: Buffer) => log.append('stdout', chunk))
  child.stderr?.on('data', (chunk: Buffer) => log.append('stderr', chunk))
  const exit = exitOf(child)
  const report = await statusReport(child)
  const pid = /^pid (\d+)$/m.exec(report)?.[1]
  if (pid === undefined)
    throw new StartError('RunContainerError', report.trim() || 'the container did not start')
  return running(machine, Number(pid), plan, exit)
}

function running(machine: Machine, pid: number, plan: LaunchPlan, exit: Promise<Exit>): ContainerProcess {
  let ended = false
  void exit.then(() => {
    ended = true
  })
  const user = machine.kind === 'userns' ? ['-U', '--preserve-credentials'] : []
  const enter = (argv: readonly string[]) => {
    const command = execute(argv, plan.env, plan.security, plan.oneUid)
    const directory = plan.cwd === '/' ? [] : [`--wdns=${plan.cwd}`]
    return ['-t', String(pid), ...user, '-m', '-p', '-n', '-u', '-i', ...directory, '--', ...command]
  }
  return {
    pid,
    startedAt: new Date(),
    exit,
    // Another process may have the pid once this one is reaped.
    signal: (signal) => !ended && signalPid(pid, signal),
    enter: (argv) => ['nsenter', ...enter(argv)],
    exec: (argv, options) =>
      collect(() => spawnEntered(enter(argv), 1, { env: ENV, stdio: 'pipe' }), options),
  }
}

async function exitOf(child: ChildProcess): Promise<Exit> {
  const [status, signal] = await once(child, 'exit')
  const at = new Date()
  // The log is complete when its pipes are closed; a grandchild that left the PID namespace cannot keep them open.
  await Promise.all(
    [child.stdout, child.stderr].map((stream) => stream?.closed || once(stream as Readable, 'close')),
  )
  return { code: exitCode(status, signal), at }
}

/** Reads until the container's pid is known or the stream ends. nsenter and unshare keep the pipe open, so it does not end before. */
async function statusReport(child: ChildProcess): Promise<string> {
  const stream = child.stdio[STATUS_FD] as Readable
  let text = ''
  for await (const chunk of stream) {
    text += chunk
    if (/^pid \d+$/m.test(text)) break
  }
  return text
}
