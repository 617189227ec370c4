/** A pipe for a process's output that is already full, like that of a container whose runtime hangs. */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export type StuffedPipe = {
  /** The end to give to the process. */
  readonly fd: number
  /** Reads whatever is there and appends it to what was read before, without the filling. */
  readonly drain: () => string
  readonly close: () => void
}

const STUFFING = '.'

/** @param directory where the pipe is created; the caller removes it */
export function stuffedPipe(directory: string): StuffedPipe {
  const path = join(directory, `log-${process.hrtime.bigint()}`)
  const { status, stderr } = spawnSync('mkfifo', [path])
  if (status !== 0) throw new Error(`mkfifo: ${stderr}`)
  // Both ends are kept open, so that a writer does not notice that nobody reads.
  const ours = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  // Like the pipe of a container it blocks, unless the process makes it non-blocking.
  const fd = openSync(path, constants.O_WRONLY)
  while (takes(ours, STUFFING.repeat(4096)));
  while (takes(ours, STUFFING));
  const pieces: Buffer[] = []
  return {
    fd,
    drain: () => {
      const piece = Buffer.alloc(1 << 17)
      try {
        pieces.push(piece.subarray(0, readSync(ours, piece)))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      }
      return Buffer.concat(pieces).toString().replace(/^\.+/, '')
    },
    close: () => {
      closeSync(fd)
      closeSync(ours)
    },
  }
}

function takes(fd: number, text: string): boolean {
  try {
    return writeSync(fd, text) > 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    return false
  }
}
