/**
 * Programs written by others that tests speak to when the machine has them (`.ci/peers` installs them, pinned).
 * A test that needs an absent one is skipped with its name, and `npm test` lists it at the end.
 */
import { accessSync, constants, existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

const VENV = process.env.POD2IAM_PEERS ?? '/opt/pod2iam-peers'

/** The absolute path of a peer, or undefined where it is not installed. The pinned ones come first. */
export function peer(command: string): string | undefined {
  const directories = [join(VENV, 'bin'), ...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin']
  return directories.map((directory) => join(directory, command)).find(isExecutable)
}

/** The directories of the pinned peers, for containers to see; none where they are not installed. */
export function peerDirectories(): string[] {
  const python = join(VENV, 'bin/python3')
  // A virtual environment links to the Python that made it.
  return existsSync(python) ? [VENV, dirname(dirname(realpathSync(python)))] : []
}

/** Options for `test()`: skips with the reason when a peer is absent. */
export function needsPeer(command: string): { skip?: string } {
  return peer(command) === undefined ? { skip: `${command} is not installed (.ci/peers brings it)` } : {}
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
