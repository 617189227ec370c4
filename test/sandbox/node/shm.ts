/** A pod sandbox's /dev/shm: one tmpfs for all of its containers, which survives them and ends with the sandbox. */
import type { Machine } from './machine.ts'
import { runScript } from './network.ts'
import { shellQuote } from './tools.ts'

/** The options with which containerd mounts it. */
const OPTIONS = 'nosuid,nodev,noexec,mode=1777,size=64m'

/** Its path in the machine. @param directory of the pod */
export function shmDirectory(directory: string): string {
  return `${directory}/shm`
}

export async function mountShm(machine: Machine, directory: string): Promise<void> {
  const path = shellQuote(shmDirectory(directory))
  await runScript(machine, `mkdir -p ${path} && mount -n -t tmpfs -o ${OPTIONS} shm ${path}`)
}

export async function unmountShm(machine: Machine, directory: string): Promise<void> {
  await runScript(machine, `umount -n -l ${shellQuote(shmDirectory(directory))}`)
}
