/** The programs of a real control plane, as processes that end with the test process at the latest. */
import { type ChildProcess, spawn as nodeSpawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { peer } from '../../peers.ts'
import type { Spawn } from '../kube/client.ts'
import { tool } from '../node/tools.ts'

/** All that a control plane needs; `.ci/peers` builds them. */
export const PROGRAMS = ['etcd', 'kube-apiserver', 'kube-controller-manager'] as const

export type Program = {
  readonly child: ChildProcess
  /** Why it is no longer there, with the last that it wrote; undefined while it runs. */
  readonly ended: () => string | undefined
  readonly kill: () => Promise<void>
}

const LOG_TAIL = 3000

/** Ends with the thread that started it, however that ends. */
const mortal: Spawn = (command, args, options) =>
  nodeSpawn(tool('setpriv'), ['--pdeathsig=KILL', '--', command, ...args], options)

/** @param spawn default: on this machine's network; one for a namespace must see to it that its processes end */
export function startProgram(
  name: string,
  args: readonly string[],
  log: string,
  spawn: Spawn = mortal,
): Program {
  const file = openSync(log, 'a')
  const child = spawn(peer(name) ?? name, args, { stdio: ['ignore', file, file] })
  closeSync(file)
  child.unref()
  let failure: string | undefined
  child.on('error', (error) => {
    failure = error.message
  })
  const isOver = () => failure !== undefined || child.exitCode !== null || child.signalCode !== null
  return {
    child,
    ended: () =>
      isOver()
        ? `${name} ended (${failure ?? child.signalCode ?? child.exitCode}): ${readFileSync(log, 'utf8').slice(-LOG_TAIL)}`
        : undefined,
    async kill() {
      if (isOver()) return
      const exit = once(child, 'exit')
      child.ref()
      // Nothing of what it holds is wanted any more.
      child.kill('SIGKILL')
      await exit
    },
  }
}
