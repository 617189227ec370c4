/** The programs of a real control plane, as processes that end with the test process at the latest. */
import { spawn as nodeSpawn } from 'node:child_process'
import { peer } from '../../peers/peers.ts'
import type { Spawn } from '../kube/client/client.ts'
import { tool } from '../node/tools.ts'
import { logged, type Program } from './logged.ts'

/** All programs of a control plane; `.ci/peers` builds them. */
export const PROGRAMS = ['etcd', 'kube-apiserver', 'kube-controller-manager'] as const

/** Ends with the thread that started it, however that ends. */
const mortal: Spawn = (command, args, options) =>
  nodeSpawn(tool('setpriv'), ['--pdeathsig=KILL', '--', command, ...args], options)

/** @param spawn default: in this machine's network; a function for a namespace must ensure that its processes end */
export function startProgram(
  name: string,
  args: readonly string[],
  log: string,
  spawn: Spawn = mortal,
): Program {
  const program = logged(name, log, (stdio) => spawn(peer(name) ?? name, args, { stdio }))
  program.child.unref()
  return program
}
