/** An error of the STS Query API: code and message with AWS's texts, and the HTTP status. */
export class StsError extends Error {
  readonly code: string
  readonly status: number

  constructor(code: string, status: number, message: string) {
    super(message)
    this.name = 'StsError'
    this.code = code
    this.status = status
  }
}

/** "User: ARN is not authorized to perform: ACTION on resource: ARN": the same text for every refusal, so that the
 * existence of a role stays hidden. */
export function accessDenied(caller: string, action: string, resource: string): StsError {
  return new StsError(
    'AccessDenied',
    403,
    `User: ${caller} is not authorized to perform: ${action} on resource: ${resource}`,
  )
}

export function validationError(message: string): StsError {
  return new StsError('ValidationError', 400, message)
}
