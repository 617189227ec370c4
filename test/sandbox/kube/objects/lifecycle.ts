/** Lifecycle hooks of containers: their defaults, and what is wrong with them (pkg/apis/core/validation, validateLifecycle). */

import { isObject, type JsonObject, objectAt } from './objects.ts'
import { type FieldError, fieldError } from './status.ts'

const HOOKS = ['postStart', 'preStop']
/** In the order in which the server checks them; the first of several is the one that counts. */
const HANDLERS = ['exec', 'httpGet', 'tcpSocket', 'sleep'] as const
const SCHEMES = ['HTTP', 'HTTPS']

/** What decoding adds to the `httpGet` of a probe or of a hook. */
export function defaultHttpGet(value: JsonObject): JsonObject {
  return { path: '/', scheme: 'HTTP', ...value }
}

/**
 * Decoding defaults of a container's `lifecycle`, and the removal of `stopSignal`: 1.37 drops it, after the webhooks, because its feature
 * gate is off.
 *
 * @returns undefined if it contains nothing else
 */
export function defaultLifecycle({ stopSignal, ...result }: JsonObject): JsonObject | undefined {
  if (stopSignal !== undefined && Object.keys(result).length === 0) return undefined
  for (const name of HOOKS) {
    const hook = result[name]
    if (isObject(hook) && isObject(hook.httpGet))
      result[name] = { ...hook, httpGet: defaultHttpGet(hook.httpGet) }
  }
  return result
}

/**
 * What is wrong with the hooks of a container that may have some.
 *
 * @param at the field of the container
 * @param spec of its pod
 */
export function lifecycleErrors(container: JsonObject, at: string, spec: JsonObject): FieldError[] {
  const lifecycle = objectAt(container, 'lifecycle')
  return HOOKS.flatMap((name) => {
    const hook = lifecycle[name]
    return isObject(hook) ? handlerErrors(hook, `${at}.lifecycle.${name}`, spec) : []
  })
}

function handlerErrors(hook: JsonObject, at: string, spec: JsonObject): FieldError[] {
  const [first, ...more] = HANDLERS.filter((name) => isObject(hook[name]))
  if (first === undefined) return [fieldError.required(at, 'must specify a handler type')]
  return [
    ...oneHandlerErrors(first, objectAt(hook, first), `${at}.${first}`, spec),
    ...more.map((name) => fieldError.forbidden(`${at}.${name}`, 'may not specify more than 1 handler type')),
  ]
}

function oneHandlerErrors(
  kind: (typeof HANDLERS)[number],
  handler: JsonObject,
  at: string,
  spec: JsonObject,
): FieldError[] {
  if (kind === 'exec') {
    const { command } = handler
    return Array.isArray(command) && command.length > 0 ? [] : [fieldError.required(`${at}.command`)]
  }
  if (kind === 'sleep') return sleepErrors(Number(handler.seconds), at, spec)
  const errors = portErrors(handler.port, `${at}.port`)
  if (kind === 'httpGet' && !SCHEMES.includes(String(handler.scheme)))
    errors.push(fieldError.unsupported(`${at}.scheme`, handler.scheme, SCHEMES))
  return errors
}

function sleepErrors(seconds: number, at: string, spec: JsonObject): FieldError[] {
  const grace = Number(spec.terminationGracePeriodSeconds)
  if (seconds >= 0 && seconds <= grace) return []
  return [
    fieldError.invalid(
      at,
      seconds,
      `must be non-negative and less than terminationGracePeriodSeconds (${grace})`,
    ),
  ]
}

/** Numbers only: a port may be a name, too. */
function portErrors(port: unknown, at: string): FieldError[] {
  if (typeof port !== 'number' || (port >= 1 && port <= 65535)) return []
  return [fieldError.invalid(at, port, 'must be between 1 and 65535, inclusive')]
}
