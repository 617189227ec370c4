/** The sandbox's certificate authority (P-256), created and kept in the test process. */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000
/** Clocks of nodes differ, so certificates are valid from a little before now. */
const BACKDATED_MS = 300_000

export type KeyPair = { readonly certPem: string; readonly keyPem: string }

export type Validity = { readonly notBefore?: Date; readonly notAfter?: Date }

export type Authority = {
  readonly caPem: string
  /** A serving certificate for DNS names and IPs (the first DNS name is the subject). */
  issue(dnsNames: readonly string[], ips?: readonly string[], validity?: Validity): Promise<KeyPair>
  /** A client certificate: the name of a user of an API server, and groups. */
  identify(user: string, groups?: readonly string[]): Promise<KeyPair>
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')
}

function serial(): string {
  // Positive and without a leading zero byte: DER integers must be minimal.
  const bytes = webcrypto.getRandomValues(new Uint8Array(16))
  bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0x3f)
  return Buffer.from(bytes).toString('hex')
}

function validity(now: number, given: Validity) {
  return {
    notBefore: given.notBefore ?? new Date(now - BACKDATED_MS),
    notAfter: given.notAfter ?? new Date(now + 365 * DAY_MS),
  }
}

/** Creates a CA named `name`. */
export async function createAuthority(name: string, now = Date.now()): Promise<Authority> {
  const caKeys = await newKeys()
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${name}`,
    ...validity(now, {}),
    signingAlgorithm: ALGORITHM,
    keys: caKeys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  })
  async function leaf(
    subject: string | x509.JsonName,
    usage: x509.ExtendedKeyUsage,
    names: readonly x509.JsonGeneralName[],
    given: Validity = {},
  ): Promise<KeyPair> {
    const keys = await newKeys()
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject,
      issuer: ca.subject,
      ...validity(Date.now(), given),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage]),
        ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...names])]),
        await x509.AuthorityKeyIdentifierExtension.create(caKeys.publicKey),
      ],
    })
    return { certPem: certificate.toString('pem'), keyPem: await keyPem(keys.privateKey) }
  }
  return {
    caPem: ca.toString('pem'),
    async issue(dnsNames, ips = [], given = {}) {
      for (const ip of ips) if (isIP(ip) === 0) throw new Error(`"${ip}" is not an IP address.`)
      const names = [
        ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
        ...ips.map((value) => ({ type: 'ip' as const, value })),
      ]
      const subject = `CN=${dnsNames[0] ?? ips[0] ?? 'unnamed'}`
      return leaf(subject, x509.ExtendedKeyUsage.serverAuth, names, given)
    },
    identify: (user, groups = []) =>
      leaf(
        [...groups.map((group) => ({ O: [group] })), { CN: [user] }],
        x509.ExtendedKeyUsage.clientAuth,
        [],
      ),
  }
}
