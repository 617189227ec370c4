/** The verbs on resources, between HTTP and the store. */
import type { IncomingMessage } from 'node:http'
import { type Caller, decode, type Target } from '../admission/admission-request.ts'
import { reviewAccess } from '../auth/access-review.ts'
import type { Tokens } from '../auth/tokens.ts'
import { jsonPatch, mergePatch, PatchError } from '../objects/json-patch.ts'
import { isObject, type JsonObject, type KubeObject, objectAt, stringAt } from '../objects/objects.ts'
import { formed, formedList, outputForm } from '../objects/output-form.ts'
import { type Resource, resourceNamed } from '../objects/resources.ts'
import { badRequest, failure } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import { strategicMergePatch } from '../objects/strategic-merge.ts'
import { bind } from './binding.ts'
import { mediaType, readBody, send, unsupportedMediaType } from './http.ts'
import { list } from './list.ts'
import type { Operations } from './operations.ts'
import type { RequestInfo } from './request-info.ts'
import type { ResourceHandler } from './routes.ts'
import { admitConnection, podLog } from './streams.ts'
import { type View, viewOf } from './view.ts'
import type { Watches } from './watch.ts'

const BODIES = ['application/json', 'application/yaml']
const PATCHES: Readonly<Record<string, (document: unknown, patch: unknown) => unknown>> = {
  'application/json-patch+json': jsonPatch,
  'application/merge-patch+json': mergePatch,
  'application/strategic-merge-patch+json': strategicMergePatch,
}

export type HandlerParts = {
  readonly store: Store
  readonly operations: Operations
  readonly tokens: Tokens
  readonly watches: Watches
  /** Path of the kubelet's socket. */
  readonly directory: string
}

const notAllowed = () =>
  failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')

function dryRunOf(query: URLSearchParams): boolean {
  const values = query.getAll('dryRun')
  if (values.some((value) => value !== 'All'))
    throw badRequest(`dryRun: Unsupported value: "${values.join(',')}": supported values: "All"`)
  return values.length > 0
}

function fieldValidationOf(query: URLSearchParams): Caller['fieldValidation'] {
  const value = query.get('fieldValidation') ?? 'Warn'
  if (value === 'Strict' || value === 'Warn' || value === 'Ignore') return value
  throw badRequest(
    `fieldValidation: Unsupported value: "${value}": supported values: "Ignore", "Strict", "Warn"`,
  )
}

/** A name or namespace in the path that the method requires. */
function required(part: string | undefined): string {
  if (part === undefined) throw notAllowed()
  return part
}

function applyPatch(type: string, patch: unknown, view: View) {
  const apply = PATCHES[type]
  if (apply === undefined) throw unsupportedMediaType(Object.keys(PATCHES))
  return (current: KubeObject): unknown => {
    try {
      const next = apply(view.show(current), patch)
      if (!isObject(next)) throw badRequest('the patched object is no JSON object')
      return view.read({ ...next, metadata: objectAt(next, 'metadata') } as KubeObject, current)
    } catch (error) {
      if (error instanceof PatchError)
        // The real server does not say why, either.
        throw failure(422, 'Invalid', 'the server rejected our request due to an error in our request', {})
      if (error instanceof TypeError) throw badRequest(error.message)
      throw error
    }
  }
}

async function deleteOptions(request: IncomingMessage, query: URLSearchParams): Promise<JsonObject> {
  const body = await readBody(request, BODIES)
  const grace = query.get('gracePeriodSeconds')
  const policy = query.get('propagationPolicy')
  return {
    ...(isObject(body) ? body : {}),
    ...(grace === null ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(policy === null ? {} : { propagationPolicy: policy }),
  }
}

/** Creates what is below another object, or is not stored. */
function specialCreates({ store, operations, tokens }: HandlerParts) {
  async function virtual(
    { plural }: Resource,
    body: unknown,
    target: Target,
    caller: Caller,
  ): Promise<unknown> {
    const request = isObject(body) ? body : {}
    if (plural === 'subjectaccessreviews') return reviewAccess(store, request)
    // A binding names the pod in its body.
    const name = stringAt(request, 'metadata', 'name') ?? ''
    const pods = { ...target, resource: resourceNamed('pods') }
    return bind(store, operations, pods, name, body, caller, target)
  }

  async function createSubresource(
    target: Target,
    name: string,
    body: unknown,
    caller: Caller,
    query: URLSearchParams,
  ): Promise<unknown> {
    switch (target.subresource) {
      case 'binding':
        return bind(store, operations, target, name, body, caller)
      case 'exec':
      case 'attach':
        // POST is used with SPDY; a WebSocket uses an upgrade.
        await admitConnection(operations, target, name, query.get('container'), caller)
        throw failure(501, 'NotImplemented', 'admitted, but the sandbox connects by WebSocket alone')
      case 'token':
        return tokens.request(target.namespace ?? '', name, isObject(body) ? body : {})
      default:
        throw notAllowed()
    }
  }

  return { virtual, createSubresource }
}

type Asked = {
  readonly info: RequestInfo
  readonly requested: Resource
  readonly view: View
  readonly target: Target
  readonly caller: Caller
  readonly request: IncomingMessage
}

function verbsOf(parts: HandlerParts): Readonly<Record<string, (asked: Asked) => Promise<unknown>>> {
  const { store, operations } = parts
  const { virtual, createSubresource } = specialCreates(parts)

  async function create({ info, requested, view, target, caller, request }: Asked): Promise<unknown> {
    const body = await readBody(request, BODIES)
    if (requested.virtual) return virtual(requested, body, target, caller)
    if (info.subresource !== undefined)
      return createSubresource(target, required(info.name), body, caller, info.query)
    if (requested.namespaced) required(info.namespace)
    if (view.stored === requested) return operations.create(target, body, caller)
    const event = decode({ ...target, resource: requested }, body, caller)
    const own = { ...event, metadata: { ...event.metadata, namespace: info.namespace ?? '' } }
    return view.show(await operations.create(target, view.read(own, undefined), caller))
  }

  async function update({ info, requested, view, target, caller, request }: Asked): Promise<unknown> {
    const body = await readBody(request, BODIES)
    const name = required(info.name)
    const next =
      view.stored === requested
        ? body
        : view.read(decode({ ...target, resource: requested }, body, caller), operations.get(target, name))
    return view.show(await operations.update(target, name, next, caller))
  }

  async function patch({ info, view, target, caller, request }: Asked): Promise<unknown> {
    const type = mediaType(request)
    if (PATCHES[type] === undefined) throw unsupportedMediaType(Object.keys(PATCHES))
    const apply = applyPatch(type, await readBody(request, [type]), view)
    return view.show(await operations.patch(target, required(info.name), apply, caller))
  }

  return {
    list: async ({ info, view, target, request }) =>
      formedList(list(store, view, target.namespace, info.query), outputForm(request.headers.accept, true)),
    get: async ({ info, view, target, request }) =>
      formed(
        view.show(operations.get(target, required(info.name))),
        outputForm(request.headers.accept, false),
      ),
    create,
    update,
    patch,
    delete: async ({ info, target, caller, request }) =>
      operations.remove(target, required(info.name), await deleteOptions(request, info.query), caller),
  }
}

export function createResourceHandler(parts: HandlerParts): ResourceHandler {
  const verbs = verbsOf(parts)
  return async (info, context, request, response) => {
    const requested = info.resource
    if (requested === undefined) throw new TypeError('This is no resource request.')
    const view = viewOf(requested)
    const namespace = requested.namespaced ? info.namespace : undefined
    if (info.subresource === 'log') {
      if (info.verb !== 'get') throw notAllowed()
      const target: Target = { resource: view.stored, subresource: undefined, namespace }
      const { status, text } = await podLog(
        parts.directory,
        parts.operations.get(target, required(info.name)),
        info.query,
      )
      return send(response, status, text, 'text/plain')
    }
    if (info.verb === 'watch')
      return parts.watches.serve(
        view,
        namespace,
        info.query,
        response,
        outputForm(request.headers.accept, false),
      )
    const serve = verbs[info.verb]
    if (serve === undefined) throw notAllowed()
    const target: Target = { resource: view.stored, subresource: info.subresource, namespace }
    const caller: Caller = {
      ...context,
      dryRun: dryRunOf(info.query),
      fieldValidation: fieldValidationOf(info.query),
    }
    const result = await serve({ info, requested, view, target, caller, request })
    send(response, info.verb === 'create' ? 201 : 200, result)
  }
}
