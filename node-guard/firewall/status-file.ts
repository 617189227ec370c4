import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Status } from './guard/report.ts'

const FILE = 'firewall-status.json'

/** Writes what `firewall status` prints, so that a reader never sees half of it. */
export async function writeStatus(directory: string, status: Status): Promise<void> {
  await mkdir(directory, { recursive: true })
  const temporary = join(directory, `.${FILE}.${process.pid}`)
  await writeFile(temporary, `${JSON.stringify(status)}\n`)
  await rename(temporary, join(directory, FILE))
}

/** The status as a guard last wrote it, or undefined where none did. */
export async function readStatus(directory: string): Promise<Status | undefined> {
  try {
    return JSON.parse(await readFile(join(directory, FILE), 'utf8')) as Status
  } catch {
    return undefined
  }
}
