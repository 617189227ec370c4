/** Paths of the system's own commands, whatever `PATH` a test or a container has. */
import { accessSync, constants } from 'node:fs'

const DIRECTORIES = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin']

/** The `PATH` of images and of everything the sandbox runs without one; docker's default. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

const found = new Map<string, string>()

/** The absolute path of a system command, or undefined if the machine does not have it. */
export function findTool(name: string): string | undefined {
  const known = found.get(name)
  if (known !== undefined) return known
  const path = DIRECTORIES.map((directory) => `${directory}/${name}`).find(isExecutable)
  if (path !== undefined) found.set(name, path)
  return path
}

/** Like {@link findTool}; throws a sentence if the command is missing. */
export function tool(name: string): string {
  const path = findTool(name)
  if (path === undefined) throw new Error(`the command ${name} is not installed; the sandbox needs it`)
  return path
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Quotes one word for a POSIX shell. */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
