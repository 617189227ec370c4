import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/**
 * Reads a file that another process may write, which can make the reader neither wait nor read for ever, nor follow a link.
 *
 * @throws if the file cannot be read, is not a regular file or has more than `maxBytes`
 */
export async function readBoundedFile(file: string, maxBytes: number): Promise<string> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new Error('it is not a file')
    if (stat.size > maxBytes) throw new Error(`it has more than ${maxBytes} bytes`)
    const buffer = Buffer.alloc(stat.size)
    const { bytesRead } = await handle.read(buffer, 0, stat.size, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await handle.close()
  }
}
