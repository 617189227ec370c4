/** The Secret that all replicas share the authority through. */
import { ApiException, CoreV1Api, type KubeConfig, type V1Secret } from '@kubernetes/client-node'
import { isObject } from '../json.ts'
import type { AuthorityState } from './rotation.ts'

/** What was read, with what a write has to build on. */
export type Stored = { readonly state: AuthorityState | undefined; readonly secret: V1Secret | undefined }

export type AuthoritySecret = {
  readonly read: () => Promise<Stored>
  /** False when another replica was faster: read again. */
  readonly write: (stored: Stored, state: AuthorityState) => Promise<boolean>
}

const DATA_KEY = 'authority.json'

/** @param place `{namespace, name}` of the Secret; made when it is not there, though charts make it (empty) beforehand */
export function authoritySecret(
  kubeConfig: KubeConfig,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): AuthoritySecret {
  const api = kubeConfig.makeApiClient(CoreV1Api)
  return {
    async read() {
      try {
        const secret = await api.readNamespacedSecret({ namespace, name })
        return { secret, state: parseState(secret.data?.[DATA_KEY]) }
      } catch (error) {
        if (error instanceof ApiException && error.code === 404)
          return { secret: undefined, state: undefined }
        throw error
      }
    },
    async write({ secret }, state) {
      const data = { ...secret?.data, [DATA_KEY]: Buffer.from(JSON.stringify(state)).toString('base64') }
      try {
        if (secret === undefined)
          await api.createNamespacedSecret({ namespace, body: { metadata: { name }, type: 'Opaque', data } })
        // With the resourceVersion that was read: of two replicas, one gets 409.
        else await api.replaceNamespacedSecret({ namespace, name, body: { ...secret, data } })
        return true
      } catch (error) {
        if (error instanceof ApiException && error.code === 409) return false
        throw error
      }
    },
  }
}

/** A Secret that holds something else counts as empty: a new authority takes its place. */
function parseState(base64: string | undefined): AuthorityState | undefined {
  if (base64 === undefined) return undefined
  try {
    const state: unknown = JSON.parse(Buffer.from(base64, 'base64').toString('utf8'))
    const isState = isObject(state) && state.version === 1 && isCertified(state.current)
    const isNext = isState && (state.next === undefined || isCertified(state.next))
    return isNext ? (state as unknown as AuthorityState) : undefined
  } catch {
    return undefined
  }
}

function isCertified(value: unknown): boolean {
  return (
    isObject(value) &&
    [value.cert, value.key].every((text) => typeof text === 'string' && text.startsWith('-----BEGIN')) &&
    [value.notBefore, value.notAfter].every((time) => typeof time === 'number')
  )
}
