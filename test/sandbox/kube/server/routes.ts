/** Handles one request: who makes it, whether it is allowed, and what to do. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { authenticate } from '../auth/authn.ts'
import { type Attributes, authorize, refusal } from '../auth/rbac.ts'
import type { SigningKeys } from '../auth/signing-keys.ts'
import type { Tokens } from '../auth/tokens.ts'
import type { UserInfo } from '../objects/objects.ts'
import { failure, forbidden } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import { discovery } from './discovery.ts'
import type { FaultRule, Faults } from './faults.ts'
import { send, statusOf, warningHeader } from './http.ts'
import { openApi } from './openapi.ts'
import { type RequestInfo, requestInfo } from './request-info.ts'

/** One request that was authorized; `calls()` returns these. */
export type Call = {
  readonly user: string
  readonly verb: string
  readonly group: string
  readonly resource: string
  readonly subresource: string
  readonly namespace: string
  readonly name: string
  /** For non-resource requests. */
  readonly path: string
  readonly allowed: boolean
  /** HTTP status; 0 while the request is open (watches). */
  code: number
  /** Audit annotations, also those of webhooks (`<webhook>/<key>`). */
  readonly audit: Record<string, string>
}

/** The verbs on resources. */
export type ResourceHandler = (
  info: RequestInfo,
  context: RequestContext,
  request: IncomingMessage,
  response: ServerResponse,
) => Promise<void>

type RequestContext = {
  readonly user: UserInfo
  warn(text: string): void
  audit(key: string, value: string): void
}

export type ServerParts = {
  readonly store: Store
  readonly tokens: Tokens
  readonly keys: SigningKeys
  readonly faults: Faults
  readonly adminToken: string
  readonly resources: ResourceHandler
  readonly calls: Call[]
}

const CALLS_KEPT = 50_000
/** The only media type in which the real server serves its keys. */
const JWKS = 'application/jwk-set+json'

function attributesOf(info: RequestInfo): Attributes {
  if (info.resource === undefined) return { verb: info.verb, path: info.path }
  const { verb, resource, subresource, namespace, name } = info
  return { verb, group: resource.group, resource: resource.plural, subresource, namespace, name }
}

function record(calls: Call[], info: RequestInfo, user: UserInfo, allowed: boolean): Call {
  const call: Call = {
    user: user.username,
    verb: info.verb,
    group: info.resource?.group ?? '',
    resource: info.resource?.plural ?? '',
    subresource: info.subresource ?? '',
    namespace: info.namespace ?? '',
    name: info.name ?? '',
    path: info.resource === undefined ? info.path : '',
    allowed,
    code: 0,
    audit: {},
  }
  calls.push(call)
  if (calls.length > CALLS_KEPT) calls.shift()
  return call
}

function deny(info: RequestInfo, user: UserInfo, attributes: Attributes) {
  const why = refusal(user, attributes)
  if (info.resource !== undefined) return forbidden(info.resource, info.name ?? '', why)
  return failure(403, 'Forbidden', `forbidden: ${why}`, {})
}

async function nonResource(parts: ServerParts, info: RequestInfo, response: ServerResponse): Promise<void> {
  const path = info.path.replace(/\/$/, '')
  if (['/healthz', '/livez', '/readyz'].includes(path))
    return send(response, 200, 'ok', 'text/plain; charset=utf-8')
  if (path === '/openid/v1/jwks') {
    if (!/\*\/\*|\bapplication\/jwk-set\+json/.test(response.req.headers.accept ?? '*/*'))
      return send(response, 406, `406: Not Acceptable\n\nAvailable representations: ${JWKS}`, 'text/plain')
    return send(response, 200, await parts.keys.jwks(), JWKS)
  }
  if (path === '/.well-known/openid-configuration') {
    const { issuer } = parts.tokens.settings
    return send(response, 200, {
      issuer,
      jwks_uri: `${issuer}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    })
  }
  const document = discovery(path) ?? openApi(path)
  if (document === undefined)
    throw failure(404, 'NotFound', 'the server could not find the requested resource', {})
  send(response, 200, document)
}

/** Answers as a fault says, or never; false when no fault applies and the request continues. */
async function suffer(fault: FaultRule | undefined, response: ServerResponse): Promise<boolean> {
  switch (fault?.kind) {
    case undefined:
      return false
    case 'hang':
      await new Promise((resolve) => response.on('close', resolve))
      return true
    case 'body':
      send(response, 200, fault.body, 'application/json')
      return true
  }
}

/**
 * The handler of every listener.
 *
 * @param faulty whether faults on demand apply (the TCP listeners)
 */
export function createHandler(parts: ServerParts, faulty: boolean) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let call: Call | undefined
    try {
      const info = requestInfo(request.method ?? 'GET', request.url ?? '/')
      if (faulty && (await suffer(parts.faults.hit(info), response))) return
      const user = await authenticate(request.headers, parts.adminToken, parts.tokens)
      const attributes = attributesOf(info)
      const allowed = authorize(parts.store, user, attributes)
      const recorded = record(parts.calls, info, user, allowed)
      call = recorded
      response.on('close', () => {
        recorded.code = response.statusCode
      })
      if (!allowed) throw deny(info, user, attributes)
      if (info.resource === undefined) return await nonResource(parts, info, response)
      const context: RequestContext = {
        user,
        warn: (text) => response.appendHeader('warning', warningHeader(text)),
        audit: (key, value) => {
          recorded.audit[key] = value
        },
      }
      await parts.resources(info, context, request, response)
    } catch (error) {
      const status = statusOf(error)
      if (call !== undefined) call.code = status.code ?? 500
      // The rest of the body must not be read as the next request.
      if (!request.complete) response.setHeader('connection', 'close')
      send(response, status.code ?? 500, status)
    }
  }
}
