/**
 * Programs written by others that tests use if the machine has them (`.ci/peers` installs them, pinned) and they run. A test
 * that needs a missing or broken one is skipped with its name and the reason, and `npm test` lists it at the end.
 */
import { accessSync, constants, existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { releaseDirectory } from './kubernetes-release.ts'
import { whyBroken, whyNoAnswer } from './proofs.ts'

const VENV = process.env.POD2IAM_PEERS ?? '/opt/pod2iam-peers'

/** Where `.ci/image-programs` unpacks the system. */
const IMAGE_SYSTEM = join(VENV, 'image-programs/root')

type Found = { readonly path: string } | { readonly path?: undefined; readonly why: string }

/** Results by possible location and command, since each is tried once in a process. */
const known = new Map<string, Found>()

/** The absolute path of a peer that runs, or undefined if there is none. The pinned ones come first. */
export function peer(command: string): string | undefined {
  return find(command).path
}

/** The absolute path of a program that is to be copied, whether it runs or not. */
export function installed(command: string): string | undefined {
  return candidates(command)[0]
}

/** The directories of the pinned peers, which containers need to see; none if they are not installed. */
export function peerDirectories(): string[] {
  const python = join(VENV, 'bin/python3')
  // A virtual environment links to the Python that made it.
  return existsSync(python) ? [VENV, dirname(dirname(realpathSync(python)))] : []
}

/** Options for `test()`: skips with the reason when a peer is absent or broken. */
export function needsPeer(command: string): { skip?: string } {
  const found = find(command)
  return found.path === undefined ? { skip: found.why } : {}
}

/** Options for `test()`: skips with the reason when Python cannot import boto3. */
export function needsBoto3(): { skip?: string } {
  const python = find('python3')
  if (python.path === undefined) return { skip: python.why }
  const why = whyNoAnswer([python.path, '-c', 'import boto3; print(boto3.__version__)'], { says: /\d+\.\d+/ })
  return why === undefined
    ? {}
    : { skip: `boto3 is not installed for ${python.path}, or broken (${why}); .ci/peers brings it` }
}

/**
 * The root of a small system of the images' Debian release, with the programs that they contain; undefined if there is none
 * that runs. It needs root, since it runs with this directory as its root.
 */
export function imageSystem(): string | undefined {
  return needsImageSystem().skip === undefined ? IMAGE_SYSTEM : undefined
}

/** Options for `test()`: skips with the reason when there is no such system. */
export function needsImageSystem(): { skip?: string } {
  if (!existsSync(IMAGE_SYSTEM)) return { skip: 'image_programs is not installed (.ci/peers brings it)' }
  const shell = ['chroot', IMAGE_SYSTEM, '/bin/bash', '-c']
  const why = whyNoAnswer([...shell, 'PATH=/usr/sbin:/usr/bin; ldd "$(command -v nft)"; nft --version'], {
    says: /nftables v/,
  })
  return why === undefined ? {} : { skip: `${IMAGE_SYSTEM} is broken (${why}); .ci/peers makes it again` }
}

function find(command: string): Found {
  const key = `${releaseDirectory(command)} ${process.env.PATH} ${command}`
  const found = known.get(key) ?? tryAll(command)
  known.set(key, found)
  return found
}

function tryAll(command: string): Found {
  const reasons: string[] = []
  for (const path of candidates(command)) {
    const why = whyBroken(command, path)
    if (why === undefined) return { path }
    reasons.push(`${path} is broken (${why})`)
  }
  const missing =
    releaseDirectory(command) === undefined
      ? `${command} is not installed (.ci/peers brings it)`
      : `${command} of the oldest Kubernetes is not installed (.ci/peers oldest_control_plane oldest_node_programs brings it)`
  return { why: reasons.length > 0 ? reasons.join('; ') : missing }
}

function candidates(command: string): string[] {
  const only = releaseDirectory(command)
  const directories =
    only === undefined
      ? [join(VENV, 'bin'), ...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin']
      : [join(VENV, only)]
  return [...new Set(directories.map((directory) => join(directory, command)))].filter(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
