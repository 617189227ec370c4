/**
 * The protocol between sidecar and broker. `/v1` is additive only: a broker serves every sidecar of `/v1`,
 * because the pods of a StatefulSet outlive releases.
 */

/** The protocol's version, which is part of every path. */
export const PROTOCOL = 1

export const CREDENTIALS_PATH = '/v1/credentials'
export const METADATA_PATH = '/v1/metadata'
/** Brokers of 0.1.0 do not have it. */
export const POD_PATH = '/v1/pod'

/**
 * Header of a request to {@link CREDENTIALS_PATH} with the pod's web identity token, beside its own in `Authorization`: from sidecars with
 * the credential source `web-identity`. Brokers before it do not read it.
 */
export const WEB_IDENTITY_HEADER = 'X-Pod2iam-Web-Identity'

/** Body of a 200 to {@link CREDENTIALS_PATH}. Times are `YYYY-MM-DDTHH:MM:SSZ`, UTC. */
export type CredentialsBody = {
  readonly Code: 'Success'
  readonly AccessKeyId: string
  readonly SecretAccessKey: string
  readonly Token: string
  readonly Expiration: string
  readonly LastUpdated: string
  readonly AccountId: string
  /** Text for the role list: the name when the role lies under the base ARN, else the ARN. */
  readonly Role: string
  readonly RoleArn: string
}

/** Body of a 200 to {@link METADATA_PATH}: path below `meta-data/` (or `dynamic/…`) → text. */
export type MetadataBody = Readonly<Record<string, string>>

/** Body of a 200 to {@link POD_PATH}, which a sidecar requests while it holds its pod's start. */
export type PodBody = {
  /** Whether the pod is being deleted, so that nothing of it needs to start any more. */
  readonly terminating: boolean
}

/**
 * Every refusal's code, with its HTTP status and what it means for a sidecar:
 * `refused` is definitive until a person changes something, `none` means that the pod has no role, `retry` is temporary.
 */
export const PROBLEMS = {
  'token-missing': { status: 401, meaning: 'retry' },
  'token-invalid': { status: 401, meaning: 'retry' },
  'token-not-for-this-node': { status: 403, meaning: 'retry' },
  'peer-address-mismatch': { status: 403, meaning: 'retry' },
  'identity-changed': { status: 403, meaning: 'refused' },
  'pod-not-injected': { status: 403, meaning: 'refused' },
  'pod-unknown': { status: 404, meaning: 'retry' },
  'namespace-not-enabled': { status: 403, meaning: 'refused' },
  'role-not-allowed': { status: 403, meaning: 'refused' },
  'role-not-set': { status: 404, meaning: 'none' },
  'sts-denied': { status: 403, meaning: 'refused' },
  'sts-invalid': { status: 403, meaning: 'refused' },
  'sts-throttled': { status: 503, meaning: 'retry' },
  'sts-unavailable': { status: 503, meaning: 'retry' },
  busy: { status: 503, meaning: 'retry' },
  'node-credentials-unavailable': { status: 503, meaning: 'retry' },
  'node-unguarded': { status: 503, meaning: 'retry' },
  'pod-address-unknown': { status: 503, meaning: 'retry' },
  // Passes when the rollout under way is complete.
  'protocol-not-spoken': { status: 404, meaning: 'retry' },
} as const satisfies Record<string, { status: number; meaning: 'refused' | 'none' | 'retry' }>

export type ProblemCode = keyof typeof PROBLEMS

/** Body of every answer that is not a success, `application/problem+json` (RFC 9457). */
type ProblemBody = {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: ProblemCode
  /** A sentence a person can act on. */
  readonly detail: string
}

export function isProblemCode(code: unknown): code is ProblemCode {
  return typeof code === 'string' && Object.hasOwn(PROBLEMS, code)
}

/** A refusal on its way to the sidecar: its code decides the status, its message is the `detail`. */
export class Problem extends Error {
  readonly code: ProblemCode
  /** Seconds for a `Retry-After` header. */
  readonly retryAfter: number | undefined

  constructor(code: ProblemCode, detail: string, options: { retryAfter?: number; cause?: unknown } = {}) {
    super(detail, { cause: options.cause })
    this.name = 'Problem'
    this.code = code
    this.retryAfter = options.retryAfter
  }

  get status(): number {
    return PROBLEMS[this.code].status
  }

  toBody(): ProblemBody {
    return {
      type: `urn:pod2iam:problem:${this.code}`,
      title: this.code.replaceAll('-', ' '),
      status: this.status,
      code: this.code,
      detail: this.message,
    }
  }
}

/** A time as the metadata service prints it: UTC, whole seconds, no fraction (the form that most clients can read). */
export function imdsTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d{3}Z$/, 'Z')
}
