/** The Secret through which all replicas share the authority. */
import { type Kube, KubeError } from '../../common/kube/client.ts'
import { isObject, type JsonObject, objectOf } from '../json.ts'
import { orAbsent } from '../kubernetes/access.ts'
import type { AuthorityState } from './rotation.ts'

/** What was read, and the Secret on which a write is based. */
type Stored = { readonly state: AuthorityState | undefined; readonly secret: JsonObject | undefined }

export type AuthoritySecret = ReturnType<typeof authoritySecret>

const DATA_KEY = 'authority.json'

/** @param place `{namespace, name}` of the Secret; created where it is missing, although the chart creates it, empty */
export function authoritySecret(
  kube: Kube,
  { namespace, name }: { readonly namespace: string; readonly name: string },
) {
  const collection = `/api/v1/namespaces/${namespace}/secrets`
  return {
    async read() {
      const secret = await orAbsent(kube.get(`${collection}/${name}`))
      if (!isObject(secret)) return { secret: undefined, state: undefined }
      return { secret, state: parseState(objectOf(secret.data)[DATA_KEY]) }
    },
    /** Returns false if another replica was faster; then it has to be read again. */
    async write({ secret }: Stored, state: AuthorityState) {
      const encoded = Buffer.from(JSON.stringify(state)).toString('base64')
      const data = { ...objectOf(secret?.data), [DATA_KEY]: encoded }
      try {
        if (secret === undefined)
          await kube.send('POST', collection, {
            apiVersion: 'v1',
            kind: 'Secret',
            metadata: { name },
            type: 'Opaque',
            data,
          })
        // Sent with the resourceVersion that was read, so that one of two replicas gets 409.
        else await kube.send('PUT', `${collection}/${name}`, { ...secret, data })
        return true
      } catch (error) {
        if (error instanceof KubeError && error.status === 409) return false
        throw error
      }
    },
  }
}

/** A Secret with other content counts as empty, and a new authority replaces it. */
function parseState(base64: unknown): AuthorityState | undefined {
  if (typeof base64 !== 'string') return undefined
  try {
    const state: unknown = JSON.parse(Buffer.from(base64, 'base64').toString('utf8'))
    return isState(state) ? state : undefined
  } catch {
    return undefined
  }
}

function isState(value: unknown): value is AuthorityState {
  if (!isObject(value) || value.version !== 1 || !isCertified(value.current)) return false
  const { next, previous } = value
  return (
    (next === undefined || (isCertified(next) && areTimes(next.publishedAt))) &&
    (previous === undefined ||
      (isObject(previous) && isPem(previous.cert) && areTimes(previous.notAfter, previous.retiredAt)))
  )
}

function isCertified(value: unknown): value is JsonObject {
  return isObject(value) && isPem(value.cert) && isPem(value.key) && areTimes(value.notBefore, value.notAfter)
}

const isPem = (value: unknown) => typeof value === 'string' && value.startsWith('-----BEGIN')
const areTimes = (...values: unknown[]) => values.every((value) => typeof value === 'number')
