/** The keys of service-account tokens: one signs, older ones may still be published. */
import { createHash, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { exportJWK, type JWK } from 'jose'

export type SigningKey = {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

/** As `keyIDFromPublicKey` in k8s.io/kubernetes/pkg/serviceaccount: SHA-256 of the DER public key. */
function keyId(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64url')
}

async function generate(): Promise<SigningKey> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const publicKey = createPublicKey(privateKey)
  return { kid: keyId(publicKey), privateKey, publicKey }
}

export class SigningKeys {
  #keys: SigningKey[]
  private constructor(first: SigningKey) {
    this.#keys = [first]
  }

  static async create(): Promise<SigningKeys> {
    return new SigningKeys(await generate())
  }

  get current(): SigningKey {
    const [key] = this.#keys
    if (key === undefined) throw new Error('There is no signing key.')
    return key
  }

  byId(kid: string): SigningKey | undefined {
    return this.#keys.find((key) => key.kid === kid)
  }

  /** A new key signs from now on. `keepOld` leaves the former keys published and accepted, as a careful operator does. */
  async rotate(keepOld: boolean): Promise<string> {
    const key = await generate()
    this.#keys = keepOld ? [key, ...this.#keys] : [key]
    return key.kid
  }

  /** Stops publishing and accepting every key but the signing one. */
  dropOld(): void {
    this.#keys = [this.current]
  }

  async jwks(): Promise<{ keys: JWK[] }> {
    const keys = this.#keys.map(async ({ kid, publicKey }) => ({
      use: 'sig',
      kty: 'RSA',
      kid,
      alg: 'RS256',
      ...(await exportJWK(publicKey)),
    }))
    return { keys: await Promise.all(keys) }
  }
}
