/** Service-account tokens: TokenRequest, and what authenticates one (claims of Kubernetes ≥ 1.32). */
import { randomUUID } from 'node:crypto'
import { type JWTPayload, jwtVerify, SignJWT } from 'jose'
import { type KubeObject, objectAt, stringAt, timestamp, type UserInfo } from '../objects/objects.ts'
import {
  badRequest,
  conflict,
  fieldError,
  invalid,
  isApiError,
  notFound,
  unauthorized,
} from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { SigningKeys } from './signing-keys.ts'

const POD = { group: '', plural: 'pods' }
const NODE = { group: '', plural: 'nodes' }
const SERVICE_ACCOUNT = { group: '', plural: 'serviceaccounts' }

const MIN_SECONDS = 600
const MAX_SECONDS = 2 ** 32
const DEFAULT_SECONDS = 3600
/** The lifetime that kubelet requests for the automatic token; the server extends it (`--service-account-extend-token-expiration`). */
const AUTOMATIC_SECONDS = 3607
const EXTENDED_SECONDS = 365 * 24 * 3600

export type TokenSettings = {
  readonly issuer: string
  /** Audiences of the API server itself; the first is used if a request names none. */
  readonly apiAudiences: readonly string[]
  /** Milliseconds. */
  readonly now: () => number
}

type Bound = { readonly name: string; readonly uid: string | undefined }
type BoundClaims = { pod?: Bound; node?: { name: string; uid?: string } }

const reference = (object: KubeObject): Bound => ({
  name: object.metadata.name ?? '',
  uid: object.metadata.uid,
})

function nodeClaim(store: Store, name: string) {
  const uid = store.get(NODE, undefined, name)?.metadata.uid
  return { name, ...(uid === undefined ? {} : { uid }) }
}

/** Checks `spec.boundObjectRef`, which only ever names a pod here, as pkg/registry/core/serviceaccount/storage/token.go does. */
function boundClaims(store: Store, account: KubeObject, ref: Record<string, unknown>): BoundClaims {
  const kind = stringAt(ref, 'kind')
  const name = stringAt(ref, 'name') ?? ''
  if (kind !== 'Pod') throw badRequest(`cannot bind token for serviceaccount to type ${kind}`)
  const object = store.get(POD, account.metadata.namespace, name)
  if (object === undefined) throw notFound(POD, name)
  const uid = stringAt(ref, 'uid')
  if (uid !== undefined && uid !== '' && uid !== object.metadata.uid)
    throw conflict(
      POD,
      name,
      `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    )
  if (stringAt(object, 'spec', 'serviceAccountName') !== account.metadata.name)
    throw badRequest(
      `cannot bind token for serviceaccount "${account.metadata.name}" to pod running with different serviceaccount name.`,
    )
  const nodeName = stringAt(object, 'spec', 'nodeName')
  const node = nodeName === undefined || nodeName === '' ? {} : { node: nodeClaim(store, nodeName) }
  return { pod: reference(object), ...node }
}

export class Tokens {
  readonly settings: TokenSettings
  readonly #store: Store
  readonly #keys: SigningKeys

  constructor(store: Store, keys: SigningKeys, settings: TokenSettings) {
    this.#store = store
    this.#keys = keys
    this.settings = settings
  }

  /**
   * `POST serviceaccounts/x/token`. Returns the TokenRequest with its status.
   *
   * @throws ApiError 404 for a missing account or bound object, 409 for another uid, 422 for a lifetime out of bounds
   */
  async request(namespace: string, name: string, request: Record<string, unknown>): Promise<KubeObject> {
    const account = this.#store.get(SERVICE_ACCOUNT, namespace, name)
    if (account === undefined) throw notFound(SERVICE_ACCOUNT, name)
    const spec = objectAt(request, 'spec')
    const { expirationSeconds: wanted = DEFAULT_SECONDS, audiences: given } = spec
    const requested = typeof wanted === 'number' ? wanted : Number.NaN
    const field = 'spec.expirationSeconds'
    if (!(requested >= MIN_SECONDS))
      throw invalid('TokenRequest', 'authentication.k8s.io', '', [
        fieldError.invalid(field, wanted, 'may not specify a duration less than 10 minutes'),
      ])
    if (requested > MAX_SECONDS)
      throw invalid('TokenRequest', 'authentication.k8s.io', '', [
        fieldError.invalid(field, wanted, 'may not specify a duration larger than 2^32 seconds'),
      ])
    const audiences =
      Array.isArray(given) && given.length > 0 ? given.map(String) : this.settings.apiAudiences
    const ref = spec.boundObjectRef
    const bound =
      ref === undefined || ref === null
        ? {}
        : boundClaims(this.#store, account, objectAt(spec, 'boundObjectRef'))
    const automatic = requested === AUTOMATIC_SECONDS && bound.pod !== undefined && this.#isForApi(audiences)
    // The clock is read once, because otherwise the answer and the token may differ by a second.
    const now = this.settings.now()
    const token = await this.#sign(account, audiences, requested, bound, automatic, now)
    return {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: { name, namespace, creationTimestamp: timestamp(now) },
      spec: { ...spec, audiences, expirationSeconds: requested },
      // With an extended token the kubelet still has to refresh after the requested time.
      status: { token, expirationTimestamp: timestamp(now + requested * 1000) },
    }
  }

  #isForApi(audiences: readonly string[]): boolean {
    return audiences.every((audience) => this.settings.apiAudiences.includes(audience))
  }

  #sign(
    account: KubeObject,
    audiences: readonly string[],
    seconds: number,
    bound: BoundClaims,
    extend: boolean,
    milliseconds: number,
  ) {
    const { namespace = '', name = '' } = account.metadata
    const now = Math.floor(milliseconds / 1000)
    const key = this.#keys.current
    const claims = {
      namespace,
      ...(bound.node === undefined ? {} : { node: bound.node }),
      ...(bound.pod === undefined ? {} : { pod: bound.pod }),
      serviceaccount: reference(account),
      ...(extend ? { warnafter: now + seconds } : {}),
    }
    return new SignJWT({ 'kubernetes.io': claims })
      .setProtectedHeader({ alg: 'RS256', kid: key.kid })
      .setAudience([...audiences])
      .setExpirationTime(now + (extend ? EXTENDED_SECONDS : seconds))
      .setIssuedAt(now)
      .setNotBefore(now)
      .setIssuer(this.settings.issuer)
      .setJti(randomUUID())
      .setSubject(`system:serviceaccount:${namespace}:${name}`)
      .sign(key.privateKey)
  }

  /**
   * The user of a token, and for which of `audiences` it is. The account and the object that the token is bound to must still exist.
   *
   * @throws ApiError 401 with the reason as its message
   */
  async authenticate(
    token: string,
    audiences: readonly string[] = this.settings.apiAudiences,
  ): Promise<{ user: UserInfo; audiences: string[] }> {
    const { payload } = await jwtVerify(
      token,
      ({ kid = '' }) => {
        const key = this.#keys.byId(kid)
        if (key === undefined) throw unauthorized()
        return key.publicKey
      },
      {
        algorithms: ['RS256'],
        issuer: this.settings.issuer,
        audience: [...audiences],
        currentDate: new Date(this.settings.now()),
        requiredClaims: ['exp', 'sub'],
      },
    ).catch((error: unknown) => {
      throw isApiError(error) ? error : unauthorized()
    })
    const own = [payload.aud ?? []].flat()
    return {
      user: this.#user(payload),
      audiences: own.filter((audience) => audiences.includes(audience)),
    }
  }

  #user(payload: JWTPayload): UserInfo {
    const claims = objectAt(payload, 'kubernetes.io')
    const namespace = stringAt(claims, 'namespace') ?? ''
    const account = this.#living(SERVICE_ACCOUNT, namespace, objectAt(claims, 'serviceaccount'))
    const extra: Record<string, string[]> = {
      'authentication.kubernetes.io/credential-id': [`JTI=${payload.jti ?? ''}`],
    }
    for (const kind of ['pod', 'node']) {
      const claim = objectAt(claims, kind)
      if (stringAt(claim, 'name') === undefined) continue
      // The node is named for information only: it need not be registered.
      if (kind === 'pod') this.#living(POD, namespace, claim)
      extra[`authentication.kubernetes.io/${kind}-name`] = [stringAt(claim, 'name') ?? '']
      const uid = stringAt(claim, 'uid')
      if (uid !== undefined) extra[`authentication.kubernetes.io/${kind}-uid`] = [uid]
    }
    return {
      username: `system:serviceaccount:${namespace}:${account.metadata.name}`,
      uid: account.metadata.uid ?? '',
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
      extra,
    }
  }

  /** Objects that are being deleted still count for a while (60 s in pkg/serviceaccount/claims.go). */
  #living(key: { group: string; plural: string }, namespace: string, claim: Record<string, unknown>) {
    const object = this.#store.get(key, namespace, stringAt(claim, 'name') ?? '')
    if (object === undefined || object.metadata.uid !== stringAt(claim, 'uid')) throw unauthorized()
    const { deletionTimestamp } = object.metadata
    if (deletionTimestamp !== undefined && Date.parse(deletionTimestamp) + 60_000 < this.settings.now())
      throw unauthorized()
    return object
  }
}
