import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Status } from './guard/report.ts'

/** A status as a guard wrote it. */
export type WrittenStatus = {
  readonly version: 1
  /** ISO 8601. */
  readonly writtenAt: string
  /** Seconds after `writtenAt` within which a living guard writes again. */
  readonly validSeconds: number
  readonly status: Status
}

const FILE = 'firewall-status.json'

/** Writes what `firewall status` prints, so that a reader never sees half of it. */
export async function writeStatus(directory: string, written: WrittenStatus): Promise<void> {
  await mkdir(directory, { recursive: true })
  const temporary = join(directory, `.${FILE}.${process.pid}`)
  await writeFile(temporary, `${JSON.stringify(written)}\n`)
  await rename(temporary, join(directory, FILE))
}

/** The status as a guard last wrote it; undefined where none did, or one of another release. */
export async function readStatus(directory: string): Promise<WrittenStatus | undefined> {
  try {
    const written = JSON.parse(await readFile(join(directory, FILE), 'utf8')) as WrittenStatus
    return written.version === 1 ? written : undefined
  } catch {
    return undefined
  }
}

/**
 * The status as it is to be believed now: of a guard that is silent nothing is verified, though its rules stay.
 *
 * @param now milliseconds
 */
export function currentStatus({ status, writtenAt, validSeconds }: WrittenStatus, now: number): Status {
  const age = (now - Date.parse(writtenAt)) / 1000
  // From the future: a clock was set back. A second of stepping is none.
  if (age >= -5 && age <= validSeconds) return status
  const detail = `the guard last reported at ${writtenAt}; its rules stay, but nobody looks after them: check the firewall container of this node's guard`
  return { ...status, verified: false, warnings: [{ code: 'guard-silent', detail }, ...status.warnings] }
}
