import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../../common/errors.ts'
import { readBoundedFile } from '../../../common/read-bounded.ts'
import { replaceFile } from '../../../common/replace-file.ts'
import { type Failed, failed } from '../../../common/result.ts'
import { isWrittenStatus, type WrittenStatus } from './shape.ts'
import type { Status } from './status.ts'

/** A guard's status, or why there is none. */
type ReadStatus =
  | { readonly ok: true; readonly written: WrittenStatus }
  | (Failed & { readonly code: string })

const FILE = 'firewall-status.json'
/** Ten times what a guard writes with every list full. */
const MAX_BYTES = 4 * 1024 * 1024

/** Writes what `firewall status` prints, so that a reader never sees a part of it. */
export async function writeStatus(directory: string, written: WrittenStatus): Promise<void> {
  await mkdir(directory, { recursive: true })
  await replaceFile(directory, FILE, written)
}

/** The status as a guard last wrote it, or one sentence why it cannot be read; never throws. */
export async function readStatus(directory: string): Promise<ReadStatus> {
  const file = join(directory, FILE)
  const not = (code: string, detail: string): ReadStatus => ({ ...failed(detail), code })
  let text: string
  try {
    text = await readBoundedFile(file, MAX_BYTES)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ENOTDIR'
      ? not(
          'guard-missing',
          `no guard has reported in ${directory}: run this in the firewall container of the node guard, or name its --state-dir`,
        )
      : not(
          'status-unreadable',
          `${file} cannot be read (${messageOf(error)}): run this as root in the firewall container of the node guard`,
        )
  }
  let written: unknown
  try {
    written = JSON.parse(text)
  } catch {
    return not(
      'status-damaged',
      `${file} is not a complete report (${text.length === 0 ? 'it is empty' : 'it is not JSON'}): a living guard replaces it within its poll interval; look at its log and for free space`,
    )
  }
  if (isWrittenStatus(written)) return { ok: true, written: withoutGaps(written) }
  return not(
    'status-foreign',
    `${file} is not a report of this release: run the firewall.cjs of the guard's own image`,
  )
}

/** Earlier releases did not write when they had looked for leftovers, nor what is about the host network. */
const withoutGaps = (written: WrittenStatus): WrittenStatus => ({
  ...written,
  status: {
    ...written.status,
    leftoversAt: written.status.leftoversAt ?? null,
    hostNetwork: written.status.hostNetwork ?? null,
  },
})

/**
 * The status as far as it is still valid: of a silent guard nothing is verified, although its rules stay.
 *
 * @param now milliseconds
 */
export function currentStatus({ status, writtenAt, validSeconds }: WrittenStatus, now: number): Status {
  const age = (now - Date.parse(writtenAt)) / 1000
  // A report from the future: the clock was set back. Small corrections of the clock do not count.
  if (age >= -5 && age <= validSeconds) return status
  const detail = `the guard last reported at ${writtenAt}; its rules stay, but are no longer checked: look at the firewall container of this node's guard`
  return { ...status, verified: false, warnings: [{ code: 'guard-silent', detail }, ...status.warnings] }
}
