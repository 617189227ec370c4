/** A small Kubernetes client for tests: plain JSON in and out, resources named as for kubectl. */
import { parseAllDocuments } from 'yaml'
import type { KubeList, KubeObject } from '../objects/objects.ts'
import { pathOf, type Resource, resourceByKind, resourceNamed } from '../objects/resources.ts'
import { isApiError } from '../objects/status.ts'
import type {
  DeleteOptions,
  ListOptions,
  PatchOptions,
  TokenOptions,
  WatchOptions,
  WriteOptions,
} from './client-options.ts'
import { type Follow, type FollowHandlers, follow } from './follow.ts'
import { type Answer, createTransport, type Endpoint, errorOf, type Transport } from './transport.ts'
import { openWatch, type Watch, type WatchEvent } from './watch-client.ts'

const PATCH_TYPES = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
} as const

/** Texts of `Warning: 299 - "…"` headers. */
function warningsOf(headers: Answer['headers']): string[] {
  const { warning = '' } = headers
  return [
    ...Buffer.from(String(warning), 'latin1')
      .toString('utf8')
      .matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g),
  ].map(([, text = '']) => text.replace(/\\(.)/g, '$1'))
}

export class KubeClient {
  readonly #transport: Transport
  readonly #headers: Readonly<Record<string, string>>

  /** @param transport default: HTTPS to the endpoint with its CA and token */
  constructor(
    endpoint: Endpoint,
    headers: Readonly<Record<string, string>> = {},
    transport: Transport = createTransport(endpoint),
  ) {
    this.#transport = transport
    this.#headers = headers
  }

  /** Any request; nothing is checked. */
  request(
    method: string,
    path: string,
    body?: unknown,
    contentType = 'application/json',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    return this.#transport.send({
      method,
      path,
      body,
      contentType,
      headers: { ...this.#headers, ...headers },
    })
  }

  /** @throws ApiError when the answer is not a success */
  async #json<T>(
    method: string,
    path: string,
    body?: unknown,
    contentType?: string,
    onWarning?: (text: string) => void,
  ): Promise<T> {
    const answer = await this.request(method, path, body, contentType)
    for (const text of warningsOf(answer.headers)) onWarning?.(text)
    if (answer.status >= 300) throw errorOf(answer)
    return JSON.parse(answer.body) as T
  }

  /** A non-resource path, e.g. `/openid/v1/jwks`. */
  raw<T = unknown>(path: string): Promise<T> {
    return this.#json<T>('GET', path)
  }

  /** POST of a path, for subresources. @throws ApiError */
  post<T = unknown>(path: string, body?: unknown): Promise<T> {
    return this.#json<T>('POST', path, body)
  }

  /** @throws ApiError, e.g. 404 */
  get<T extends KubeObject = KubeObject>(resource: string, name: string, namespace?: string): Promise<T> {
    return this.#json<T>('GET', pathOf(resourceNamed(resource), namespace, name))
  }

  /** As `get`; undefined if there is none. */
  async find<T extends KubeObject = KubeObject>(
    resource: string,
    name: string,
    namespace?: string,
  ): Promise<T | undefined> {
    try {
      return await this.get<T>(resource, name, namespace)
    } catch (error) {
      if (isApiError(error, 404)) return undefined
      throw error
    }
  }

  list<T extends KubeObject = KubeObject>(resource: string, options: ListOptions = {}): Promise<KubeList<T>> {
    return this.#json<KubeList<T>>(
      'GET',
      `${pathOf(resourceNamed(resource), options.namespace)}${query(options)}`,
    )
  }

  /** The namespace is the object's, or `default` when it has none. */
  create<T extends KubeObject = KubeObject>(object: KubeObject, options: WriteOptions = {}): Promise<T> {
    const { resource, namespace } = placeOf(object)
    const path = `${pathOf(resource, namespace)}${query({ dryRun: options.dryRun ? 'All' : undefined })}`
    return this.#json<T>('POST', path, object, undefined, options.onWarning)
  }

  /** PUT; fails with 409 when `metadata.resourceVersion` is set and no longer current. */
  update<T extends KubeObject = KubeObject>(
    object: KubeObject,
    options: WriteOptions & { readonly subresource?: string } = {},
  ): Promise<T> {
    const { resource, namespace, name } = placeOf(object)
    const path = pathOf(resource, namespace, name, options.subresource)
    return this.#json<T>(
      'PUT',
      `${path}${query({ dryRun: options.dryRun ? 'All' : undefined })}`,
      object,
      undefined,
      options.onWarning,
    )
  }

  /** Creates the object or replaces all of it, whatever its version. */
  async apply<T extends KubeObject = KubeObject>(object: KubeObject, options: WriteOptions = {}): Promise<T> {
    const { resource, namespace, name } = placeOf(object)
    try {
      return await this.create<T>(object, options)
    } catch (error) {
      if (!isApiError(error, 409) || error.reason !== 'AlreadyExists') throw error
    }
    for (;;) {
      // Some kinds require the version.
      const { metadata } = await this.#json<KubeObject>('GET', pathOf(resource, namespace, name))
      const { resourceVersion = '' } = metadata
      try {
        return await this.update<T>({ ...object, metadata: { ...object.metadata, resourceVersion } }, options)
      } catch (error) {
        if (!isApiError(error, 409) || error.reason !== 'Conflict') throw error
      }
    }
  }

  /** Applies every document of a YAML text in order; returns the objects and all warnings. */
  async applyYaml(
    text: string,
    options: { readonly namespace?: string; readonly dryRun?: boolean } = {},
  ): Promise<{ objects: KubeObject[]; warnings: string[] }> {
    const warnings: string[] = []
    const objects: KubeObject[] = []
    for (const document of parseAllDocuments(text)) {
      const [error] = document.errors
      if (error !== undefined) throw error
      const object = document.toJS() as KubeObject | null
      if (object === null) continue
      const resource = resourceByKind(object.apiVersion, object.kind)
      const namespace = resource?.namespaced ? (object.metadata.namespace ?? options.namespace) : undefined
      const metadata = { ...object.metadata, ...(namespace === undefined ? {} : { namespace }) }
      const write = {
        dryRun: options.dryRun === true,
        onWarning: (warning: string) => warnings.push(warning),
      }
      objects.push(await this.apply({ ...object, metadata }, write))
    }
    return { objects, warnings }
  }

  /** @param patch a merge patch by default; an array of operations for `json` */
  patch<T extends KubeObject = KubeObject>(
    resource: string,
    name: string,
    namespace: string | undefined,
    patch: unknown,
    options: PatchOptions = {},
  ): Promise<T> {
    const path = pathOf(resourceNamed(resource), namespace, name, options.subresource)
    const type = PATCH_TYPES[options.type ?? (Array.isArray(patch) ? 'json' : 'merge')]
    return this.#json<T>(
      'PATCH',
      `${path}${query({ dryRun: options.dryRun ? 'All' : undefined })}`,
      patch,
      type,
      options.onWarning,
    )
  }

  /** A pod is deleted gracefully: it stays with `deletionTimestamp` until the kubelet deletes it with grace 0. */
  async delete(
    resource: string,
    name: string,
    namespace?: string,
    options: DeleteOptions = {},
  ): Promise<void> {
    const { uid, ...rest } = options
    const body = { ...rest, ...(uid === undefined ? {} : { preconditions: { uid } }) }
    await this.#json('DELETE', pathOf(resourceNamed(resource), namespace, name), body)
  }

  /** One watch; it ends when the server ends it. For a list that stays current use `follow`. */
  watch<T extends KubeObject = KubeObject>(
    resource: string,
    options: WatchOptions,
    onEvent: (event: WatchEvent<T>) => void,
  ): Watch {
    const path = `${pathOf(resourceNamed(resource), options.namespace)}${query({ ...options, watch: true })}`
    return openWatch<T>(this.#transport, { method: 'GET', path, headers: this.#headers }, onEvent)
  }

  /** List and watch without end: relists after 410, reconnects after everything else. */
  follow<T extends KubeObject = KubeObject>(
    resource: string,
    options: Pick<ListOptions, 'namespace' | 'labelSelector' | 'fieldSelector'>,
    handlers: FollowHandlers<T>,
  ): Follow {
    return follow<T>(this, resource, options, handlers)
  }

  /** TokenRequest: the token, and the expiry that the kubelet gets. */
  async createToken(
    namespace: string,
    serviceAccount: string,
    options: TokenOptions = {},
  ): Promise<{ token: string; expirationTimestamp: string }> {
    const { pod, ...spec } = options
    const bound = pod === undefined ? {} : { boundObjectRef: { kind: 'Pod', apiVersion: 'v1', ...pod } }
    const answer = await this.#json<{ status: { token: string; expirationTimestamp: string } }>(
      'POST',
      pathOf(resourceNamed('serviceaccounts'), namespace, serviceAccount, 'token'),
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { ...spec, ...bound } },
    )
    return answer.status
  }

  /** What a scheduler does; `metadata` may have annotations and labels, which the server merges into the pod. */
  async bind(
    namespace: string,
    pod: string,
    node: string,
    metadata: { annotations?: Record<string, string>; labels?: Record<string, string> } = {},
  ): Promise<void> {
    await this.#json('POST', pathOf(resourceNamed('pods'), namespace, pod, 'binding'), {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name: pod, namespace, ...metadata },
      target: { apiVersion: 'v1', kind: 'Node', name: node },
    })
  }

  async evict(namespace: string, pod: string): Promise<void> {
    await this.#json('POST', pathOf(resourceNamed('pods'), namespace, pod, 'eviction'), {
      apiVersion: 'policy/v1',
      kind: 'Eviction',
      metadata: { name: pod, namespace },
    })
  }

  /** Closes idle connections; watches are closed by their own `close`. */
  close(): void {
    this.#transport.close()
  }
}

function placeOf(object: KubeObject): { resource: Resource; namespace: string | undefined; name: string } {
  const resource = resourceByKind(object.apiVersion, object.kind)
  if (resource === undefined)
    throw new Error(`The sandbox's API server has no ${object.apiVersion} ${object.kind}.`)
  const { namespace = 'default', name = '' } = object.metadata
  return { resource, namespace: resource.namespaced ? namespace : undefined, name }
}

function query(options: object): string {
  const entries = Object.entries(options).filter(
    ([name, value]) => value !== undefined && name !== 'namespace',
  )
  return entries.length === 0
    ? ''
    : `?${new URLSearchParams(entries.map(([name, value]): [string, string] => [name, String(value)]))}`
}
