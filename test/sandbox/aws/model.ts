/** What the stand-in of AWS and its client exchange: settings, policies, faults and records. Types only. */

export type OneOrMore = string | readonly string[]

/** A statement of an IAM policy, in IAM's own spelling. */
export type Statement = {
  readonly Sid?: string
  readonly Effect: 'Allow' | 'Deny'
  /** Only in a trust policy. */
  readonly Principal?: '*' | Readonly<Partial<Record<'AWS' | 'Service' | 'Federated', OneOrMore>>>
  readonly Action: OneOrMore
  /** Only in an identity policy. */
  readonly Resource?: OneOrMore
  /** Operator → condition key → values. */
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, OneOrMore>>>>
}

export type PolicyDocument = { readonly Version?: string; readonly Statement: readonly Statement[] }

/** A role as a test writes it. */
export type RoleInput = {
  readonly arn: string
  readonly trustPolicy: PolicyDocument
  /** What sessions of the role may do; nothing when left out. */
  readonly policy?: readonly Statement[]
  /** Seconds, 3600 to 43200; IAM's default of 3600 when left out. */
  readonly maxSessionDuration?: number
}

/** A managed policy, as it is given to sessions: `arn:…:policy/…` of an account, or of `aws`. */
export type ManagedPolicyInput = { readonly arn: string; readonly statements: readonly Statement[] }

/** An IAM OIDC provider. */
export type OidcProviderInput = {
  /** `https://…`, as the `iss` claim of its tokens. */
  readonly issuer: string
  /** Twelve digits; the account of the base role ARN when left out. */
  readonly account?: string
  /** Audiences. */
  readonly clientIds: readonly string[]
  /** The key set itself, or where it is fetched for every call; `ca` is the PEM certificate that AWS trusts there. */
  readonly keys:
    | { readonly jwks: Readonly<Record<string, unknown>> }
    | { readonly url: string; readonly ca?: string }
}

/** A user with a static key; keys are made up when left out. */
export type UserInput = {
  readonly name: string
  readonly policy?: readonly Statement[]
  readonly accessKeyId?: string
  readonly secretAccessKey?: string
}

export type UserKeys = {
  readonly arn: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** Run-time switches of the metadata service; what is left out stays as it is. */
export type ImdsSettings = {
  /** `disabled`: 403 on everything, as with `HttpEndpoint=disabled`. */
  readonly httpEndpoint: 'enabled' | 'disabled'
  /** `optional` allows IMDSv1. */
  readonly httpTokens: 'optional' | 'required'
  /** `false`: no instance profile is attached, `iam/` does not exist. */
  readonly instanceProfile: boolean
  /** Lifetime of node credentials issued from now on, in seconds. */
  readonly credentialLifetime: number
  /** `held`: the same document is served for ever, also when expired. */
  readonly credentialRotation: 'auto' | 'held'
  /** Anything but `Success` answers EC2's error document, HTTP 200. */
  readonly credentialCode: string
  /** Serve `iam/security-credentials-extended/` (newer fleet) or 404 it. */
  readonly extendedCredentials: boolean
  /** `InstanceMetadataTags`: undefined means disabled. */
  readonly instanceTags: Readonly<Record<string, string>> | null
  /** Path below `/latest/` → text; null removes what is there by default. */
  readonly override: Readonly<Record<string, string | null>>
}

/** Run-time switches of STS; what is left out stays as it is. */
export type StsSettings = {
  /** Whether the instance profile's own session counts as role chaining (the documentation is ambiguous). */
  readonly instanceProfileIsChaining: boolean
  /** How far a signature's time may be off, in minutes (AWS documents 5; some endpoints allow 15). */
  readonly clockSkewMinutes: number
  /** Regions a credential scope may name. */
  readonly regions: readonly string[]
}

/** What a fault does to the request it catches. */
export type FaultEffect =
  /** STS: 400 Throttling "Rate exceeded". IMDS: 429. */
  | { readonly kind: 'throttle' }
  /** STS: 403 AccessDenied. IMDS: 403. */
  | { readonly kind: 'deny' }
  /** STS: an error document with this status, 503 when left out. IMDS likewise. */
  | { readonly kind: 'unavailable'; readonly status?: number }
  /** STS: any error of its catalogue. IMDS: the status alone. */
  | { readonly kind: 'error'; readonly status: number; readonly code: string; readonly message: string }
  /** Answers properly after so many milliseconds; adds up with another fault. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** Says nothing for so many milliseconds (30,000 when left out, 120,000 at most), then closes. */
  | { readonly kind: 'hang'; readonly ms?: number }
  /** Closes the connection without an answer. */
  | { readonly kind: 'close' }
  /** Answers exactly this. */
  | { readonly kind: 'answer'; readonly status: number; readonly body: string; readonly contentType?: string }

/** A fault: where it strikes, for how many requests (until cleared when left out), and what it does. */
export type Fault = FaultEffect & {
  readonly service: 'sts' | 'imds'
  readonly calls?: number
  /** STS only: `AssumeRole`, `AssumeRoleWithWebIdentity`, `GetCallerIdentity`. */
  readonly action?: string
  /** STS only: the RoleArn asked for. */
  readonly role?: string
  /** IMDS only: paths that begin so, as `/latest/api/token`. */
  readonly path?: string
  /** Address the request comes from. */
  readonly peer?: string
}

/** One request to STS. Times in milliseconds since the epoch, by the stand-in's clock. */
export type StsCall = {
  readonly time: number
  /** Milliseconds until the answer. */
  readonly took: number
  readonly peer: string
  readonly action: string
  /** ARN of whoever signed, subject of a web identity token, or null when either was refused. */
  readonly caller: string | null
  readonly role: string | null
  readonly session: string | null
  readonly externalId: string | null
  readonly tags: Readonly<Record<string, string>>
  readonly transitiveTagKeys: readonly string[]
  readonly sourceIdentity: string | null
  readonly policyArns: readonly string[]
  /** Seconds as asked for, or null for STS's default. */
  readonly duration: number | null
  /** `Success`, STS's error code, or `hang` / `close` / `answer` of a fault. */
  readonly outcome: string
  /** Whether the request carried a signature, good or bad. */
  readonly signed: boolean
  readonly status: number
  /** Access key id of what was issued. */
  readonly issued: string | null
  readonly userAgent: string
}

/** Number of AssumeRole and AssumeRoleWithWebIdentity calls by outcome. */
export type Outcomes = Readonly<Record<string, number>>

export type StsCounts = {
  /** All requests, whatever the action. */
  readonly requests: number
  readonly assumeRole: number
  /** Most requests in progress at the same time. */
  readonly peakInFlight: number
  readonly byOutcome: Outcomes
  readonly byRole: Readonly<Record<string, Outcomes>>
  readonly bySession: Readonly<Record<string, Outcomes>>
}

/** One request to the metadata service. */
export type ImdsRequest = {
  readonly time: number
  readonly peer: string
  /** The metadata address that was asked. */
  readonly local: string
  readonly method: string
  readonly path: string
  readonly status: number
  readonly token: 'none' | 'valid' | 'invalid'
  readonly userAgent: string
}

/** Temporary credentials that STS knows, without their secrets. */
export type SessionInfo = {
  readonly accessKeyId: string
  readonly arn: string
  readonly role: string | null
  readonly session: string
  readonly issuedAt: number
  readonly expiresAt: number
  /** Managed policies that narrow it. */
  readonly policyArns: readonly string[]
  readonly sourceIdentity: string | null
  readonly by: 'assume-role' | 'web-identity' | 'instance-profile' | 'instance-identity'
}
