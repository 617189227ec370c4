/** X.509 for the webhook: an authority and the leaves it signs, P-256. */
import { webcrypto } from 'node:crypto'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
/** Clocks of API servers may be behind ours. */
const BACKDATED_MS = 300_000

export type Certified = {
  /** PEM. */
  readonly cert: string
  /** PEM, PKCS #8. */
  readonly key: string
  /** Milliseconds since 1970. */
  readonly notBefore: number
  readonly notAfter: number
}

/** A new authority, valid from five minutes ago for `lifetimeMs`. */
export async function issueAuthority(now: number, lifetimeMs: number): Promise<Certified> {
  const x509 = await library()
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=pod2iam injector authority',
    keys,
    ...validity(now, lifetimeMs),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return certified(certificate, keys.privateKey)
}

/** A server certificate for `names`, signed by `authority`, never valid beyond it. */
export async function issueLeaf(
  authority: Certified,
  names: readonly string[],
  now: number,
  lifetimeMs: number,
): Promise<Certified> {
  const x509 = await library()
  const keys = await newKeys()
  const pkcs8 = x509.PemConverter.decodeFirst(authority.key)
  const signingKey = await webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign'])
  const issuer = new x509.X509Certificate(authority.cert)
  const certificate = await x509.X509CertificateGenerator.create({
    subject: 'CN=pod2iam injector',
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    ...validity(now, Math.min(lifetimeMs, authority.notAfter - now)),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
      // Our authorities all have the same subject: this identifies the one that signed.
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return certified(certificate, keys.privateKey)
}

/** Loaded when there is something to issue: 7 MB that are used once a day; its polyfill must be loaded first. */
async function library() {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(webcrypto)
  return x509
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}

function validity(now: number, lifetimeMs: number) {
  return { notBefore: new Date(now - BACKDATED_MS), notAfter: new Date(now + lifetimeMs) }
}

async function certified(
  certificate: { readonly notBefore: Date; readonly notAfter: Date; toString(format: 'pem'): string },
  privateKey: webcrypto.CryptoKey,
): Promise<Certified> {
  const { PemConverter } = await library()
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY'),
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
  }
}
