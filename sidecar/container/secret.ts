/**
 * The secret with which the pod's own containers ask for container credentials (`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`). It is a
 * token like those of IMDSv2, with a key derived from theirs. Therefore it needs no table, stays valid when this process restarts, and
 * neither kind of token is accepted in place of the other.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import type { SteadyClock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'
import { SessionTokens } from '../imds/tokens.ts'
import { repeat } from '../repeat.ts'

const ROTATE_MS = 3_600_000
const RETRY_MS = 5000
/** Seconds: two rotations, so that a program that has read the file just before it changes has an hour left to use the secret. */
const LIFE = (2 * ROTATE_MS) / 1000

type SecretDeps = {
  readonly file: string
  /** The key of the IMDSv2 tokens, 32 bytes. */
  readonly key: Uint8Array
  readonly clock: SteadyClock
  readonly log: Logger
}

/** Creates a secret for the file. */
export function containerSecretOf({ file, key, clock, log }: SecretDeps) {
  const tokens = new SessionTokens(hmac(sha256, key, Buffer.from('container-credentials')))
  let problem: string | undefined = 'The secret of the container credentials has not been written yet.'
  const rotate = (): number => {
    try {
      write(file, tokens.issue(LIFE, clock.now()))
      problem = undefined
      return ROTATE_MS
    } catch (error) {
      const detail = `The secret of the container credentials cannot be written to ${file} (${messageOf(error)}).`
      if (problem !== undefined) problem = detail
      log.error(detail)
      return RETRY_MS
    }
  }
  return {
    /** Whether a text is a secret that this pod's file contains or contained, and that has not expired. */
    accepts: (secret: string) => tokens.lifetime(secret, clock.now()) !== undefined,
    /** Why the file is not written yet, a sentence; undefined once it is. */
    problem: () => problem,
    /** Writes the file at once, and again every hour. */
    start: () => repeat(clock, async () => rotate()),
  }
}

/**
 * The file is replaced atomically, so a reader sees one secret or the other. Every user may read it, because we do not know as which user the
 * application runs; only the pod's containers have the volume. It has no newline, because SDKs refuse one in a header.
 */
function write(file: string, secret: string): void {
  const aside = `${file}.new`
  rmSync(aside, { force: true })
  writeFileSync(aside, secret, { mode: 0o444, flag: 'wx' })
  renameSync(aside, file)
}
