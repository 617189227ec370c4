/** The STS Query API over HTTP: form POST and GET, XML answers, faults on demand, a record of every call. */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { assumeRole, assumeRoleResult } from './assume-role.ts'
import { parseAssumeRole } from './assume-role-input.ts'
import { authenticate } from './authenticate.ts'
import { callRecord } from './call-record.ts'
import { headerPairs, peerOf, readBody, sayNothing, wait } from './exchange.ts'
import type { KeyOwner } from './iam.ts'
import type { FaultEffect } from './model.ts'
import { accessDenied, StsError } from './sts-error.ts'
import { assumeRoleWithWebIdentity, webIdentityResult } from './web-identity.ts'
import { parseWebIdentity } from './web-identity-input.ts'
import type { World } from './world.ts'
import { type Elements, errorXml, successXml } from './xml.ts'

const VERSION = '2011-06-15'
const WEB_IDENTITY = 'AssumeRoleWithWebIdentity'
const ACTIONS = ['AssumeRole', WEB_IDENTITY, 'GetCallerIdentity']

/** An STS server for this world; the caller makes it listen and closes it. */
export function createStsServer(world: World): Server {
  // Connections stay open longer than the idle time of every SDK's pool, so that no client writes into a closing one.
  return createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
    handle(world, request, response).catch(() => response.destroy())
  })
}

type Answer = {
  readonly status: number
  readonly body: string
  readonly contentType?: string
  readonly outcome: string
  readonly caller?: string
  readonly issued?: string
}

async function handle(world: World, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const time = world.now()
  const began = performance.now()
  const requestId = randomUUID()
  const body = await readBody(request)
  if (!body) {
    response.writeHead(413, { connection: 'close' }).end()
    return
  }
  const [path = '/', query = ''] = splitOnce(request.url ?? '/', '?')
  const params = new URLSearchParams(query)
  if (request.method === 'POST')
    for (const [name, value] of new URLSearchParams(body.toString())) params.append(name, value)
  const action = params.get('Action') ?? ''
  const peer = peerOf(request.socket)
  world.counts.started()
  let answer: Answer | undefined
  try {
    const role = params.get('RoleArn') ?? undefined
    const { delay, effect } = world.faults.take({ service: 'sts', peer, action, role })
    await wait(delay, response)
    const wire = { method: request.method ?? '', path, query, headers: headerPairs(request), body }
    if (effect?.kind === 'hang' || effect?.kind === 'close') {
      answer = { status: 0, body: '', outcome: effect.kind }
      await sayNothing(effect, response)
    } else answer = await respond(world, wire, params, effect, requestId)
  } finally {
    const call = callRecord(
      params,
      request,
      { time, took: Math.round(performance.now() - began), peer },
      answer,
    )
    world.counts.finished(call)
    world.calls.add(call)
  }
  if (response.destroyed || response.closed) return
  response.sendDate = false
  response.writeHead(answer.status, {
    'x-amzn-requestid': requestId,
    'content-type': answer.contentType ?? 'text/xml',
    'content-length': Buffer.byteLength(answer.body),
    // SDKs correct their clock by this header.
    date: new Date(world.now()).toUTCString(),
  })
  response.end(answer.body)
}

type Wire = Parameters<typeof authenticate>[0]

async function respond(
  world: World,
  wire: Wire,
  params: URLSearchParams,
  effect: FaultEffect | undefined,
  requestId: string,
): Promise<Answer> {
  if (effect?.kind === 'answer') return { ...effect, outcome: 'answer' }
  let owner: KeyOwner | undefined
  try {
    if (effect && effect.kind !== 'deny') throw faultError(effect)
    checkOperation(wire, params)
    // This operation needs no signature, and ignores one.
    if (params.get('Action') === WEB_IDENTITY)
      return await respondToWebIdentity(world, params, effect, requestId)
    owner = authenticate(wire, world)
    if (effect?.kind === 'deny')
      throw accessDenied(owner.caller.arn, `sts:${params.get('Action')}`, params.get('RoleArn') ?? '*')
    const { result, issued } = perform(world, owner, params)
    return {
      status: 200,
      body: successXml(params.get('Action') ?? '', result, requestId),
      outcome: 'Success',
      caller: owner.caller.arn,
      ...(issued === undefined ? {} : { issued }),
    }
  } catch (error) {
    const failure =
      error instanceof StsError
        ? error
        : new StsError(
            'InternalFailure',
            500,
            'The request processing has failed because of an unknown error.',
          )
    return {
      status: failure.status,
      body: errorXml(failure.status, failure.code, failure.message, requestId),
      outcome: failure.code,
      ...(owner ? { caller: owner.caller.arn } : {}),
    }
  }
}

/** @throws {StsError} */
async function respondToWebIdentity(
  world: World,
  params: URLSearchParams,
  effect: FaultEffect | undefined,
  requestId: string,
): Promise<Answer> {
  if (effect?.kind === 'deny')
    throw new StsError('AccessDenied', 403, `Not authorized to perform sts:${WEB_IDENTITY}`)
  const input = parseWebIdentity(params)
  const made = await assumeRoleWithWebIdentity(input, { iam: world.iam, now: world.now() })
  return {
    status: 200,
    body: successXml(WEB_IDENTITY, webIdentityResult(made, input), requestId),
    outcome: 'Success',
    caller: made.identity.subject,
    issued: made.session.accessKeyId,
  }
}

function checkOperation(wire: Wire, params: URLSearchParams): void {
  const action = params.get('Action')
  if (wire.path !== '/' || (wire.method !== 'POST' && wire.method !== 'GET'))
    throw new StsError('UnknownOperation', 404, 'The requested operation does not exist.')
  if (!action) throw new StsError('MissingAction', 400, 'Could not find the Action parameter in the request.')
  const version = params.get('Version')
  if (version !== VERSION || !ACTIONS.includes(action))
    throw new StsError(
      'InvalidAction',
      400,
      `Could not find operation ${action} for version ${version ?? 'NO_VERSION_SPECIFIED'}`,
    )
}

function perform(
  world: World,
  owner: KeyOwner,
  params: URLSearchParams,
): { readonly result: Elements; readonly issued?: string } {
  if (params.get('Action') === 'GetCallerIdentity') {
    const { caller, userId } = owner
    return { result: { Arn: caller.arn, UserId: userId, Account: caller.account } }
  }
  const input = parseAssumeRole(params)
  const session = assumeRole(owner, input, {
    iam: world.iam,
    now: world.now(),
    instanceProfileIsChaining: world.sts.instanceProfileIsChaining,
  })
  return { result: assumeRoleResult(session, input), issued: session.accessKeyId }
}

function faultError(effect: FaultEffect): StsError {
  if (effect.kind === 'throttle') return new StsError('Throttling', 400, 'Rate exceeded')
  if (effect.kind === 'error') return new StsError(effect.code, effect.status, effect.message)
  const status = effect.kind === 'unavailable' ? (effect.status ?? 503) : 500
  return status === 503
    ? new StsError(
        'ServiceUnavailable',
        503,
        'The request has failed due to a temporary failure of the server.',
      )
    : new StsError(
        'InternalFailure',
        status,
        'The request processing has failed because of an unknown error.',
      )
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}
