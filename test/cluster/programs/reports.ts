/** What the programs in pods print and the test reads. */

/** How a TCP connection to the metadata endpoint ended. */
export type Reach = 'refused' | 'opened' | 'silent' | 'unreachable'

export type ProberState = Record<Reach, number> & {
  attempts: number
  lastOpening: string
  /** ISO 8601. */
  readonly began: string
}

export type ClientState = { requests: number; failures: number; lastFailure: string; accessKeyId: string }

/** EC2's credential document, as far as it is read. */
export type CredentialDocument = {
  readonly Code: string
  readonly AccessKeyId: string
  readonly SecretAccessKey: string
  readonly Token: string
}

/** One GET: `error` is the error code of a connection that brought no answer. */
export type Got = { readonly status: number; readonly body: string; readonly error?: string }

/** The termination message of a container that asked for credentials once. */
export type OnceReport = {
  readonly accessKeyId?: string
  readonly milliseconds: number
  readonly problem?: string
}

/** The termination message of a container that reports its start; times in milliseconds since 1970. */
export type StartReport = {
  readonly startedAt: number
  /** Undefined if none came, or none were requested. */
  readonly credentialsAt?: number
  /** How long it waited for them, milliseconds. */
  readonly waited: number
  readonly problem?: string
}

/** What a node has, as its own tools print it. */
export type Leftovers = { readonly tables: string; readonly links: string; readonly chains: string }
