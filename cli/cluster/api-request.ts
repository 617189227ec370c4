/** One request to the API server, in terms of RBAC. */
export type ApiRequest = {
  readonly verb: 'get' | 'list' | 'create'
  /** With its subresource, and with its group if it is not the core group: `pods`, `pods/exec`, `deployments.apps`. */
  readonly resource: string
  /** Undefined for the whole cluster. */
  readonly namespace?: string | undefined
  /** A refusal is not reported, because something else is tried then. */
  readonly quiet?: boolean
}

/** `list pods in namespace reports`. */
export function requestText({ verb, resource, namespace }: ApiRequest): string {
  return `${verb} ${resource} ${namespace === undefined ? 'in all namespaces' : `in namespace ${namespace}`}`
}

/** The API server's answer to a request. */
export type Answer<T> =
  | { readonly kind: 'found'; readonly value: T }
  | { readonly kind: 'absent' }
  | { readonly kind: 'forbidden'; readonly asked: ApiRequest }

/** The value, or undefined if there is none or it may not be read. */
export function foundIn<T>(answer: Answer<T>): T | undefined {
  return answer.kind === 'found' ? answer.value : undefined
}
