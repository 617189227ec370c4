/** Certificates for tests: an authority and leaves for 127.0.0.1 and names, as PEM. */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

export type Authority = { readonly pem: string; readonly leaf: (options?: LeafOptions) => Promise<Pair> }
export type Pair = { readonly cert: string; readonly key: string }
type LeafOptions = { readonly names?: readonly string[]; readonly notAfter?: Date }

/** A new authority; every leaf has a new key and serial number. */
export async function authority(name = 'CN=test authority'): Promise<Authority> {
  const keys = (await webcrypto.subtle.generateKey(ALGORITHM, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    notBefore: new Date(Date.now() - 300_000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  })
  return {
    pem: root.toString('pem'),
    async leaf({ names = [], notAfter = new Date(Date.now() + 3_600_000) } = {}) {
      const leafKeys = (await webcrypto.subtle.generateKey(ALGORITHM, true, [
        'sign',
        'verify',
      ])) as webcrypto.CryptoKeyPair
      const certificate = await x509.X509CertificateGenerator.create({
        subject: 'CN=test leaf',
        issuer: root.subject,
        publicKey: leafKeys.publicKey,
        signingKey: keys.privateKey,
        notBefore: new Date(Date.now() - 300_000),
        notAfter,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new x509.SubjectAlternativeNameExtension([
            { type: 'ip', value: '127.0.0.1' },
            ...names.map((value) => ({ type: 'dns' as const, value })),
          ]),
        ],
      })
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey))
      return { cert: certificate.toString('pem'), key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY') }
    },
  }
}
