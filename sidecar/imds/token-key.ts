/**
 * The key behind this pod's IMDSv2 tokens: 32 random bytes in a file of the state directory, a memory-backed
 * emptyDir that only this container mounts. It is created once per pod, so that a restarted sidecar accepts the tokens
 * that SDKs have.
 */
import { linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../../common/errors.ts'
import { randomBytes } from './random.ts'

const KEY_BYTES = 32
const FILE = 'imds-token-key'

/**
 * Reads the pod's key, or creates it. If the directory cannot be used the tokens do not survive a restart; then `warning` says why.
 */
export function loadTokenKey(directory: string) {
  const path = join(directory, FILE)
  try {
    return { key: read(path) ?? create(path), warning: undefined }
  } catch (error) {
    return {
      key: randomBytes(KEY_BYTES),
      warning: `IMDSv2 tokens will not outlive a restart of this container: the state directory cannot be used (${messageOf(error)})`,
    }
  }
}

/** The key in the file; undefined when there is none, or when it is not one that only we could have written. */
function read(path: string): Uint8Array | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  const sound = stat.isFile() && stat.size === KEY_BYTES && (stat.mode & 0o077) === 0
  if (sound) return readFileSync(path)
  rmSync(path, { recursive: true, force: true })
  return undefined
}

/** Written aside and linked into place: a reader sees the whole key or none, and the first writer wins. */
function create(path: string): Uint8Array {
  const key = randomBytes(KEY_BYTES)
  const aside = `${path}.${process.pid}`
  rmSync(aside, { force: true })
  writeFileSync(aside, key, { mode: 0o600, flag: 'wx' })
  try {
    linkSync(aside, path)
    return key
  } catch (error) {
    const winner = read(path)
    if (winner === undefined) throw error
    return winner
  } finally {
    rmSync(aside, { force: true })
  }
}
