/**
 * Log lines to the container's output, without ever waiting for whoever reads it: where nobody drains the pipe, a write
 * would stop the only thread there is, and the application's requests with it.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs'

const STDOUT = 1

/**
 * A writer of lines. A line that finds no room is lost, and so is one that nobody can receive any more.
 *
 * @param told makes the line that says how many were lost, written as soon as there is room again
 */
export function lineWriter(told: (lost: number) => string): (line: string) => void {
  const fd = withoutWaiting()
  let lost = 0
  return (line) => {
    try {
      // In one piece: the kernel takes up to 4 KiB whole or not at all.
      writeSync(fd, lost > 0 ? told(lost) + line : line)
      lost = 0
    } catch {
      lost++
    }
  }
}

/**
 * Standard output, opened once more where it is a pipe: O_NONBLOCK belongs to the open file, which other processes of
 * the container share. Where it cannot be opened, as it is.
 */
function withoutWaiting(): number {
  try {
    if (!fstatSync(STDOUT).isFIFO()) return STDOUT
    return openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch {
    return STDOUT
  }
}
