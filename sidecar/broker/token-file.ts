/** The projected service-account token with which this pod proves who it is. */
import { closeSync, openSync, readSync } from 'node:fs'

/** Longest token file read, bytes; projected tokens have about 1 KiB. */
const MAX_TOKEN = 16 * 1024

/**
 * Reads the token. Trailing white space is dropped, since a newline would make an illegal header.
 *
 * @throws an Error whose message is a sentence with the remedy, never with the token
 */
export function readTokenFile(path: string): string {
  const token = readBounded(path).trim()
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Error(
      `The service-account token file ${path} contains no token. Remedy: check the pod's projected volume and the kubelet.`,
    )
  return token
}

function readBounded(path: string): string {
  const buffer = Buffer.alloc(MAX_TOKEN + 1)
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
    throw new Error(
      `The service-account token file ${path} cannot be read (${code}). Remedy: look at the pod's projected volume.`,
    )
  }
  try {
    const length = readSync(file, buffer, 0, buffer.length, 0)
    if (length > MAX_TOKEN)
      throw new Error(`The service-account token file ${path} is longer than ${MAX_TOKEN} bytes.`)
    return buffer.toString('latin1', 0, length)
  } finally {
    closeSync(file)
  }
}
