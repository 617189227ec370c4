/** Errors of the API as `Status` objects, with the texts of k8s.io/apimachinery/pkg/api/errors. */
import type { JsonObject } from './objects.ts'

type StatusCause = { reason?: string; message?: string; field?: string }

export type Status = {
  kind: 'Status'
  apiVersion: 'v1'
  metadata: JsonObject
  status: 'Success' | 'Failure'
  message?: string
  reason?: string
  details?: {
    name?: string
    group?: string
    kind?: string
    uid?: string
    causes?: StatusCause[]
    retryAfterSeconds?: number
  }
  code?: number
}

/** The object that an error is about. */
export type Subject = { readonly group: string; readonly plural: string }

/** A refused request. `status` is the body the server sends, `status.code` the HTTP status. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: Status
  constructor(status: Status) {
    super(status.message ?? `${status.code} ${status.reason ?? ''}`.trim())
    this.status = status
  }
  get code(): number {
    return this.status.code ?? 500
  }
  get reason(): string {
    return this.status.reason ?? ''
  }
}

/** Whether `error` is an ApiError with one of these HTTP codes (with any when none is given). */
export function isApiError(error: unknown, ...codes: readonly number[]): error is ApiError {
  return error instanceof ApiError && (codes.length === 0 || codes.includes(error.code))
}

export function failure(
  code: number,
  reason: string,
  message: string,
  details?: Status['details'],
): ApiError {
  return new ApiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    ...(reason === '' ? {} : { reason }),
    ...(details === undefined ? {} : { details }),
    code,
  })
}

/** `pods`, `deployments.apps`: the name of a resource in messages. */
function qualified({ group, plural }: Subject): string {
  return group === '' ? plural : `${plural}.${group}`
}

const about = ({ group, plural }: Subject, name?: string) => ({
  ...(name === undefined || name === '' ? {} : { name }),
  ...(group === '' ? {} : { group }),
  kind: plural,
})

export function notFound(subject: Subject, name: string): ApiError {
  return failure(404, 'NotFound', `${qualified(subject)} "${name}" not found`, about(subject, name))
}

export function alreadyExists(subject: Subject, name: string): ApiError {
  return failure(409, 'AlreadyExists', `${qualified(subject)} "${name}" already exists`, about(subject, name))
}

export function conflict(subject: Subject, name: string, why: string): ApiError {
  return failure(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(subject)} "${name}": ${why}`,
    about(subject, name),
  )
}

export const MODIFIED =
  'the object has been modified; please apply your changes to the latest version and try again'

export function forbidden(subject: Subject, name: string, why: string): ApiError {
  const what = name === '' ? qualified(subject) : `${qualified(subject)} "${name}"`
  return failure(403, 'Forbidden', `${what} is forbidden: ${why}`, about(subject, name))
}

export function badRequest(message: string): ApiError {
  return failure(400, 'BadRequest', message)
}

export function unauthorized(): ApiError {
  return failure(401, 'Unauthorized', 'Unauthorized')
}

export function internalError(message: string): ApiError {
  return failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] })
}

/** The list or watch requested a version that is gone: the client must list again. */
export function expired(message: string): ApiError {
  return failure(410, 'Expired', message)
}

/** One violated field, e.g. `{field: 'spec.containers[0].image', reason: 'FieldValueRequired', message: 'Required value'}`. */
export type FieldError = { readonly field: string; readonly reason: string; readonly message: string }

export const fieldError = {
  required: (field: string, detail = ''): FieldError => ({
    field,
    reason: 'FieldValueRequired',
    message: detail === '' ? 'Required value' : `Required value: ${detail}`,
  }),
  invalid: (field: string, value: unknown, detail: string): FieldError => ({
    field,
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${JSON.stringify(value)}: ${detail}`,
  }),
  duplicate: (field: string, value: unknown): FieldError => ({
    field,
    reason: 'FieldValueDuplicate',
    message: `Duplicate value: ${JSON.stringify(value)}`,
  }),
  notFound: (field: string, value: unknown): FieldError => ({
    field,
    reason: 'FieldValueNotFound',
    message: `Not found: ${JSON.stringify(value)}`,
  }),
  forbidden: (field: string, detail: string): FieldError => ({
    field,
    reason: 'FieldValueForbidden',
    message: `Forbidden: ${detail}`,
  }),
  unsupported: (field: string, value: unknown, supported: readonly string[]): FieldError => ({
    field,
    reason: 'FieldValueNotSupported',
    message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((s) => `"${s}"`).join(', ')}`,
  }),
}

export function invalid(kind: string, group: string, name: string, errors: readonly FieldError[]): ApiError {
  const texts = errors.map((error) => `${error.field}: ${error.message}`)
  const text = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`
  const qualifiedKind = group === '' ? kind : `${kind}.${group}`
  return failure(422, 'Invalid', `${qualifiedKind} "${name}" is invalid: ${text}`, {
    ...(name === '' ? {} : { name }),
    ...(group === '' ? {} : { group }),
    kind,
    causes: errors.map(({ reason, message, field }) => ({ reason, message, field })),
  })
}
