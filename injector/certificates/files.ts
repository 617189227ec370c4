/** The serving certificate from files, re-read when they change. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'

export type ServingCertificate = { readonly cert: string; readonly key: string; readonly notAfter: number }

/**
 * Reads a certificate and its key and checks that they can serve.
 *
 * @returns the pair and the end of its life, milliseconds since 1970
 * @throws Error with a sentence: unreadable, not PEM, or key and certificate do not belong together
 */
export async function readCertificate(certFile: string, keyFile: string): Promise<ServingCertificate> {
  const [cert, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')])
  let notAfter: number
  try {
    // createSecureContext accepts an empty text, for example of a file that was just truncated, as if there were none.
    const leaf = new X509Certificate(cert)
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the key is another one')
    createSecureContext({ cert, key })
    notAfter = leaf.validToDate.getTime()
  } catch (error) {
    throw new Error(`${certFile} and ${keyFile} are not a certificate and its key: ${messageOf(error)}`)
  }
  return { cert, key, notAfter }
}

/**
 * Polls the files, because the kubelet replaces a mounted Secret by a symbolic link, which `fs.watch` on the file does not notice.
 * A pair that cannot serve (half written, mismatched) is logged, and the old one stays in use.
 *
 * @returns stops the polling
 */
export function watchCertificate(
  files: { readonly cert: string; readonly key: string },
  current: ServingCertificate,
  onChange: (certificate: ServingCertificate) => void,
  log: Logger,
  intervalMs = 10_000,
): () => void {
  let last = current
  let reading = false
  const poll = async () => {
    if (reading) return
    reading = true
    try {
      const next = await readCertificate(files.cert, files.key)
      if (next.cert === last.cert && next.key === last.key) return
      onChange(next)
      last = next
      log.info('certificate reloaded', { notAfter: new Date(next.notAfter).toISOString() })
    } catch (error) {
      log.warn('certificate not reloaded, the old one stays', { error: messageOf(error) })
    } finally {
      reading = false
    }
  }
  const timer = setInterval(poll, intervalMs)
  return () => clearInterval(timer)
}
