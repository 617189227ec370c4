/** The lifecycle hooks of a container: a postStart exec hook is run, all others are refused by name. */
import type { ContainerProcess } from './container-process.ts'
import { ContainerConfigError } from './errors.ts'
import type { Lifecycle } from './pod.ts'

/** @throws ContainerConfigError for hooks that the sandbox does not run */
export function refuseUnknownHooks({ postStart = {}, ...others }: Lifecycle = {}): void {
  const [other] = Object.keys(others)
  if (other !== undefined) throw new ContainerConfigError(`the sandbox does not know lifecycle.${other}`)
  const handler = Object.keys(postStart).find((kind) => kind !== 'exec')
  if (handler !== undefined)
    throw new ContainerConfigError(`the sandbox runs postStart hooks by exec, not by ${handler}`)
}

/**
 * Runs a postStart hook in its container until it ends, because the kubelet gives it no timeout.
 *
 * @param command as it is written: the kubelet expands no `$(NAME)` in it
 * @returns its exit code, which is not 0 if the container has ended meanwhile and with it the hook in its PID namespace
 */
export async function runHook(command: readonly string[], process: ContainerProcess): Promise<number> {
  const { code } = await process.exec(command, { timeout: Number.POSITIVE_INFINITY })
  return code
}
