import { closeSync, openSync, readSync } from 'node:fs'

/**
 * Random bytes from the kernel. Not node:crypto: loading it costs 1.1 MiB in every pod (`sidecar/README.md`), and
 * these 32 bytes at start are all the randomness needed.
 */
export function randomBytes(length: number): Uint8Array {
  const bytes = Buffer.alloc(length)
  const file = openSync('/dev/urandom', 'r')
  try {
    for (let filled = 0; filled < length; ) filled += readSync(file, bytes, filled, length - filled, null)
    return bytes
  } finally {
    closeSync(file)
  }
}

/** In lower case. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
