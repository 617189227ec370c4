/** Principals: roles, users and sessions, and the keys with which they sign. */
import type { AwsConfig } from './config.ts'
import { makeAccessKeyId, makeId, makeSecretAccessKey, makeSessionToken } from './credentials.ts'
import { Journal } from './journal.ts'
import type {
  ManagedPolicyInput,
  OidcProviderInput,
  PolicyDocument,
  RoleInput,
  SessionInfo,
  Statement,
  UserInput,
  UserKeys,
} from './model.ts'
import { checkOidcProvider, type OidcProvider, oidcProviderArn } from './oidc.ts'
import type { Caller } from './policy.ts'
import { checkIdentityStatements, checkTrustPolicy } from './policy-check.ts'
import { validationError } from './sts-error.ts'

export type Role = {
  readonly arn: string
  /** `AROA…`, unchanged as long as the role exists. */
  readonly id: string
  readonly account: string
  /** Without path, as in an assumed-role ARN. */
  readonly name: string
  readonly trustPolicy: PolicyDocument
  readonly policy: readonly Statement[]
  /** Seconds. */
  readonly maxSessionDuration: number
}

type User = UserKeys & { readonly id: string; readonly policy: readonly Statement[] }

/** Temporary credentials as STS knows them, secrets included. */
export type Session = Omit<SessionInfo, 'sourceIdentity'> & {
  readonly secretAccessKey: string
  readonly sessionToken: string
  readonly userId: string
  readonly account: string
  /** Session tags, keys as sent. */
  readonly tags: ReadonlyMap<string, string>
  /** Keys of the tags that the next session in a chain inherits. */
  readonly transitive: readonly string[]
  readonly sourceIdentity: string | undefined
  readonly policy: readonly Statement[] | undefined
}

/** The owner of a key. */
export type KeyOwner = {
  readonly secretAccessKey: string
  /** Undefined for a user's key, which has no token. */
  readonly session: Session | undefined
  readonly caller: Caller
  readonly userId: string
}

const MAX_SESSIONS = 100_000

export class Iam {
  readonly #config: AwsConfig
  readonly #roles = new Map<string, Role>()
  readonly #policies = new Map<string, readonly Statement[]>()
  readonly #providers = new Map<string, OidcProvider>()
  readonly #users = new Map<string, User>()
  readonly #sessions = new Map<string, Session>()
  readonly #issued = new Journal<Session>(MAX_SESSIONS)

  constructor(config: AwsConfig) {
    this.#config = config
  }

  role(arn: string): Role | undefined {
    return this.#roles.get(arn)
  }

  /** Creates or updates a role. Throws a sentence on a policy that IAM would refuse. */
  putRole(input: RoleInput): Role {
    const groups =
      /^arn:aws(?:-[a-z]+)*:iam::(?<account>\d{12}):role\/(?:[\x21-\x7e]*\/)?(?<name>[\w+=,.@-]{1,64})$/.exec(
        input.arn,
      )?.groups
    const { account, name } = groups ?? {}
    if (!account || !name) throw new Error(`"${input.arn}" is not a role ARN`)
    const { policy = [], maxSessionDuration = 3600 } = input
    checkTrustPolicy(input.trustPolicy)
    checkIdentityStatements(policy)
    if (!Number.isInteger(maxSessionDuration) || maxSessionDuration < 3600 || maxSessionDuration > 43_200)
      throw new Error('maxSessionDuration must be from 3600 to 43200 seconds')
    const id = this.#roles.get(input.arn)?.id ?? makeId('AROA', 17)
    const role = {
      arn: input.arn,
      id,
      account,
      name,
      trustPolicy: input.trustPolicy,
      policy,
      maxSessionDuration,
    }
    this.#roles.set(role.arn, role)
    return role
  }

  /** Deletes a role and its sessions. */
  deleteRole(arn: string): void {
    this.#roles.delete(arn)
    for (const [key, session] of this.#sessions) if (session.role === arn) this.#sessions.delete(key)
  }

  /** Creates or updates a managed policy. Throws a sentence on one that IAM would refuse. */
  putManagedPolicy({ arn, statements }: ManagedPolicyInput): void {
    if (!/^arn:aws(?:-[a-z]+)*:iam::(?:\d{12}|aws):policy\/[\x21-\x7e]+$/.test(arn))
      throw new Error(`"${arn}" is not a policy ARN`)
    checkIdentityStatements(statements)
    this.#policies.set(arn, statements)
  }

  /** Refuses session policies that exist neither in the role's account nor among AWS's own. The documentation does not say with which error. */
  checkPolicies(arns: readonly string[], { account }: Role): void {
    const isThere = (arn: string) =>
      this.#policies.has(arn) && ['aws', account].includes(arn.split(':')[4] ?? '')
    const missing = arns.find((arn) => !isThere(arn))
    if (missing !== undefined) throw validationError(`Policy ${missing} does not exist or is not attachable.`)
  }

  /** What session policies allow together in their current form; undefined if there are none. */
  #sessionPolicy({ policy, policyArns }: Session): readonly Statement[] | undefined {
    if (policy === undefined && policyArns.length === 0) return undefined
    return [...(policy ?? []), ...policyArns.flatMap((arn) => this.#policies.get(arn) ?? [])]
  }

  /** The provider of an issuer in an account. */
  oidcProvider(account: string, issuer: string): OidcProvider | undefined {
    return this.#providers.get(oidcProviderArn(this.#config.base, account, issuer))
  }

  /** Creates or updates an OIDC provider. Throws a sentence on one that IAM would refuse. */
  putOidcProvider(input: OidcProviderInput): OidcProvider {
    checkOidcProvider(input)
    const account = input.account ?? this.#config.base.split(':')[4] ?? ''
    const provider = { ...input, account, arn: oidcProviderArn(this.#config.base, account, input.issuer) }
    this.#providers.set(provider.arn, provider)
    return provider
  }

  deleteOidcProvider(arn: string): void {
    this.#providers.delete(arn)
  }

  /** Creates or updates a user in the node's account. */
  putUser(input: UserInput): UserKeys {
    if (!/^[\w+=,.@-]{1,64}$/.test(input.name)) throw new Error(`"${input.name}" is not a user name`)
    const { policy = [] } = input
    checkIdentityStatements(policy)
    const arn = this.#config.base.replace(/:role\/.*$/, `:user/${input.name}`)
    const old = [...this.#users.values()].find((user) => user.arn === arn)
    if (old) this.#users.delete(old.accessKeyId)
    const accessKeyId = input.accessKeyId ?? old?.accessKeyId ?? makeAccessKeyId('AKIA')
    const secretAccessKey = input.secretAccessKey ?? old?.secretAccessKey ?? makeSecretAccessKey()
    const keys = { arn, accessKeyId, secretAccessKey }
    this.#users.set(accessKeyId, { ...keys, id: old?.id ?? makeId('AIDA', 17), policy })
    return keys
  }

  /** Makes new credentials, different on every call, and remembers them. */
  issue(what: Omit<Session, 'accessKeyId' | 'secretAccessKey' | 'sessionToken'>): Session {
    const session = {
      ...what,
      accessKeyId: makeAccessKeyId('ASIA'),
      secretAccessKey: makeSecretAccessKey(),
      sessionToken: makeSessionToken(),
    }
    this.#sessions.set(session.accessKeyId, session)
    this.#issued.add(session)
    const oldest = this.#sessions.size > MAX_SESSIONS ? this.#sessions.keys().next().value : undefined
    if (oldest !== undefined) this.#sessions.delete(oldest)
    return session
  }

  /** The owner of this key, or undefined for an unknown one. */
  ownerOf(accessKeyId: string): KeyOwner | undefined {
    const user = this.#users.get(accessKeyId)
    if (user) {
      const account = user.arn.split(':')[4] ?? ''
      const caller = {
        arn: user.arn,
        account,
        roleArn: undefined,
        statements: user.policy,
        sessionPolicy: undefined,
      }
      return { secretAccessKey: user.secretAccessKey, session: undefined, caller, userId: user.id }
    }
    const session = this.#sessions.get(accessKeyId)
    if (!session) return undefined
    const role = session.role === null ? undefined : this.#roles.get(session.role)
    const caller = {
      arn: session.arn,
      account: session.account,
      roleArn: role?.arn,
      statements: role?.policy ?? [],
      sessionPolicy: this.#sessionPolicy(session),
    }
    return { secretAccessKey: session.secretAccessKey, session, caller, userId: session.userId }
  }

  /** Expires sessions early: requests signed with them are answered with ExpiredToken from now on. */
  expire(match: { readonly accessKeyId?: string; readonly role?: string }, now: number): number {
    let count = 0
    for (const [key, session] of this.#sessions) {
      if (match.accessKeyId !== undefined && match.accessKeyId !== session.accessKeyId) continue
      if (match.role !== undefined && match.role !== session.role) continue
      if (session.expiresAt <= now) continue
      this.#sessions.set(key, { ...session, expiresAt: now })
      count++
    }
    return count
  }

  /** All sessions issued so far, without secrets, oldest first. */
  sessions(): SessionInfo[] {
    return this.#issued.list().map((issued) => {
      const {
        accessKeyId,
        arn,
        role,
        session,
        issuedAt,
        expiresAt,
        by,
        policyArns,
        sourceIdentity = null,
      } = this.#sessions.get(issued.accessKeyId) ?? issued
      return { accessKeyId, arn, role, session, issuedAt, expiresAt, by, policyArns, sourceIdentity }
    })
  }

  /** Deletes users, OIDC providers, managed policies, and all roles except those named, with their sessions. */
  reset(keep: readonly string[]): void {
    for (const arn of this.#roles.keys()) if (!keep.includes(arn)) this.deleteRole(arn)
    this.#users.clear()
    this.#providers.clear()
    this.#policies.clear()
    this.#issued.clear()
  }
}
