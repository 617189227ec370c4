/**
 * The secret with which the pod's own containers ask for container credentials (`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`). It is a
 * token as those of IMDSv2 are, by a key derived from theirs: so it needs no table, outlives a restart of this process, and neither
 * is worth anything in place of the other.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import type { SteadyClock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'
import { SessionTokens } from '../imds/tokens.ts'
import { type Repeated, repeat } from '../repeat.ts'

const ROTATE_MS = 3_600_000
const RETRY_MS = 5000
/** Seconds: two rotations, so that whoever has read the file just before it changes has an hour left to ask. */
const LIFE = (2 * ROTATE_MS) / 1000

type ContainerSecret = {
  /** Whether a text is a secret that this pod's file has or had, and that has not expired. */
  readonly accepts: (secret: string) => boolean
  /** Why the file is not written yet, a sentence; undefined once it is. */
  readonly problem: () => string | undefined
  /** Writes the file at once, and anew every hour. */
  readonly start: () => Repeated
}

type Options = {
  readonly file: string
  /** Of the IMDSv2 tokens, 32 bytes. */
  readonly key: Uint8Array
  readonly clock: SteadyClock
  readonly log: Logger
}

/** A secret, to be written. */
export function containerSecretOf({ file, key, clock, log }: Options): ContainerSecret {
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
    accepts: (secret) => tokens.lifetime(secret, clock.now()) !== undefined,
    problem: () => problem,
    start: () => repeat(clock, async () => rotate()),
  }
}

/**
 * Replaced as a whole: a reader sees one secret or the other. Readable for every user, because nobody knows as which the application
 * runs; only the pod's containers have the volume. Without a newline, which SDKs refuse in a header.
 */
function write(file: string, secret: string): void {
  const aside = `${file}.new`
  rmSync(aside, { force: true })
  writeFileSync(aside, secret, { mode: 0o444, flag: 'wx' })
  renameSync(aside, file)
}
