/** The stand-in for AWS as tests and the demo use it: starts the process, controls it, and reads its records. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type AwsConfig, resolveConfig } from './config.ts'
import type { Operations } from './control.ts'
import type { Ready } from './main.ts'
import type {
  Fault,
  ImdsRequest,
  ImdsSettings,
  ManagedPolicyInput,
  OidcProviderInput,
  PolicyDocument,
  SessionInfo,
  Statement,
  StsCall,
  StsCounts,
  StsSettings,
  UserInput,
  UserKeys,
} from './model.ts'
import { awaitReady, endProcess } from './process.ts'

export { REAL_IMDS } from './config.ts'
export { USER_DATA_CANARY } from './imds-tree.ts'
export type * from './model.ts'
export { allowAssume, denyAssume, trust, trustWebIdentity } from './policies.ts'

export type AwsOptions = Partial<Omit<AwsConfig, 'controlSocket' | 'temporaryDirectory'>> & {
  /**
   * Starts the process, given the whole command line, program first. Standard input and output must be pipes. The
   * sandbox passes a function that enters a network namespace (the control socket works across namespaces).
   */
  readonly spawn?: (argv: readonly string[]) => ChildProcess
  /** Directory of the settings and the control socket; by default a private temporary directory. */
  readonly directory?: string
}

/** A role by name (under the base ARN) or ARN. */
export type RoleSpec = {
  readonly arn: string
  readonly trustPolicy: PolicyDocument
  readonly policy?: readonly Statement[]
  readonly maxSessionDuration?: number
}

export class Aws {
  readonly config: AwsConfig
  /** `http://host:port` of every listener, in the order of the options. */
  readonly imdsUrls: readonly string[]
  readonly stsUrls: readonly string[]
  readonly pid: number
  readonly #child: ChildProcess
  readonly #directory: string
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 })

  private constructor(config: AwsConfig, ready: Ready, child: ChildProcess, directory: string) {
    this.config = config
    this.imdsUrls = ready.imds.map((address) => `http://${address}`)
    this.stsUrls = ready.sts.map((address) => `http://${address}`)
    this.pid = child.pid ?? 0
    this.#child = child
    this.#directory = directory
  }

  /**
   * Starts AWS; resolves once every listener accepts. Without listen addresses it serves on loopback, on any port.
   * Throws with the process's own output when it cannot start.
   */
  static async start(options: AwsOptions = {}): Promise<Aws> {
    const { spawn: start = spawnHere, directory: given, ...settings } = options
    const directory = mkdtempSync(join(given ?? tmpdir(), 'aws-'))
    chmodSync(directory, 0o700)
    const controlSocket = join(directory, 'control.sock')
    let child: ChildProcess | undefined
    try {
      // The kernel's limit for a socket's path; Node would silently truncate a longer one.
      if (Buffer.byteLength(controlSocket) > 107)
        throw new Error(`the path ${controlSocket} is too long for a socket; give a shorter directory`)
      const config = resolveConfig({ ...settings, controlSocket, temporaryDirectory: directory })
      const file = join(directory, 'settings.json')
      writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
      child = start([process.execPath, fileURLToPath(new URL('main.ts', import.meta.url)), file])
      return new Aws(config, await awaitReady(child), child, directory)
    } catch (error) {
      if (child) await endProcess(child)
      rmSync(directory, { recursive: true, force: true })
      throw error
    }
  }

  /** The first metadata endpoint with a trailing slash (some versions of the AWS CLI need it). */
  get imdsUrl(): string {
    return `${this.imdsUrls[0] ?? ''}/`
  }

  get stsUrl(): string {
    return this.stsUrls[0] ?? ''
  }

  /**
   * Environment with which any AWS SDK or the AWS CLI finds this AWS and ignores the machine's own settings.
   * Credentials come from the metadata service unless keys are given.
   */
  environment(keys?: Pick<UserKeys, 'accessKeyId' | 'secretAccessKey'>): Record<string, string> {
    return {
      AWS_REGION: this.config.region,
      AWS_DEFAULT_REGION: this.config.region,
      AWS_ENDPOINT_URL_STS: this.stsUrl,
      AWS_EC2_METADATA_SERVICE_ENDPOINT: this.imdsUrl,
      AWS_CONFIG_FILE: '/dev/null',
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
      ...(keys ? { AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey } : {}),
    }
  }

  /** ARN of a role given by name or path/name under the base ARN; an ARN stays as it is. */
  roleArn(role: string): string {
    return role.startsWith('arn:') ? role : this.config.base + role
  }

  /** Creates or updates a role; returns its ARN. Throws on a policy that IAM would refuse. */
  async putRole(role: RoleSpec): Promise<string> {
    const { arn } = await this.#call('putRole', { ...role, arn: this.roleArn(role.arn) })
    return arn
  }

  /** Deletes a role; keys of its sessions become unknown. */
  async deleteRole(role: string): Promise<void> {
    await this.#call('deleteRole', { arn: this.roleArn(role) })
  }

  /** Creates or updates an OIDC provider; returns its ARN. */
  async putOidcProvider(provider: OidcProviderInput): Promise<string> {
    const { arn } = await this.#call('putOidcProvider', provider)
    return arn
  }

  /** Creates or updates a managed policy, which can narrow sessions; returns its ARN. */
  async putManagedPolicy(policy: ManagedPolicyInput): Promise<string> {
    await this.#call('putManagedPolicy', policy)
    return policy.arn
  }

  async deleteOidcProvider(arn: string): Promise<void> {
    await this.#call('deleteOidcProvider', { arn })
  }

  /** Creates or updates a user with a static key, for clusters outside EC2. */
  putUser(user: UserInput): Promise<UserKeys> {
    return this.#call('putUser', user)
  }

  /** Replaces the permissions of the node role (initially: assume any role that trusts it, with tags). */
  async setNodePolicy(statements: readonly Statement[]): Promise<void> {
    await this.#call('setNodePolicy', { statements })
  }

  /** Changes switches of the metadata service. */
  async setImds(changes: Partial<ImdsSettings>): Promise<void> {
    await this.#call('setImds', changes)
  }

  /** Changes switches of STS. */
  async setSts(changes: Partial<StsSettings>): Promise<void> {
    await this.#call('setSts', changes)
  }

  /** Sets how many milliseconds AWS's clock is ahead of this machine's: sessions expire, signatures become stale. */
  async setClockOffset(milliseconds: number): Promise<void> {
    await this.#call('setClockOffset', { milliseconds })
  }

  /**
   * Gives the node new credentials now. The old ones stay valid unless they are to expire at once.
   * Returns the new access key id.
   */
  async rotateNodeCredentials(options: { readonly expireOld?: boolean } = {}): Promise<string> {
    const { accessKeyId } = await this.#call('rotateNodeCredentials', {
      expireOld: options.expireOld ?? false,
    })
    return accessKeyId
  }

  /** Attaches the instance profile of another role (by name or ARN), which must exist. */
  async attachInstanceProfile(role: string): Promise<void> {
    await this.#call('attachInstanceProfile', { role: this.roleArn(role) })
  }

  /** Ends sessions now, by key or role (all when neither is given). Returns how many. */
  async expireSessions(match: { accessKeyId?: string; role?: string } = {}): Promise<number> {
    const role = match.role === undefined ? {} : { role: this.roleArn(match.role) }
    const { count } = await this.#call('expireSessions', { ...match, ...role })
    return count
  }

  /** Adds a fault; returns an id for {@link clearFaults}. */
  async fault(fault: Fault): Promise<string> {
    const role = fault.role === undefined ? {} : { role: this.roleArn(fault.role) }
    const { id } = await this.#call('fault', { ...fault, ...role })
    return id
  }

  /** Removes one fault, or all. */
  async clearFaults(id?: string): Promise<void> {
    await this.#call('clearFaults', id === undefined ? {} : { id })
  }

  /** Requests to STS, oldest first, that have all the given values (role by name or ARN). */
  async calls(match: Partial<StsCall> = {}): Promise<readonly StsCall[]> {
    const wanted = typeof match.role === 'string' ? { ...match, role: this.roleArn(match.role) } : match
    return matching(await this.#call('calls', {}), wanted)
  }

  /** Counts of AssumeRole by role, session name and outcome, since the start or {@link clearRecords}. */
  counts(): Promise<StsCounts> {
    return this.#call('counts', {})
  }

  /** Temporary credentials issued so far, oldest first, that have all the given values; without secrets. */
  async sessions(match: Partial<SessionInfo> = {}): Promise<readonly SessionInfo[]> {
    const wanted = typeof match.role === 'string' ? { ...match, role: this.roleArn(match.role) } : match
    return matching(await this.#call('sessions', {}), wanted)
  }

  /** Requests to the metadata service, oldest first, that have all the given values. */
  async imdsRequests(match: Partial<ImdsRequest> = {}): Promise<readonly ImdsRequest[]> {
    return matching(await this.#call('imdsRequests', {}), match)
  }

  /** Peer address → number of TCP connections to the metadata service, including those without a request. */
  imdsConnections(): Promise<Readonly<Record<string, number>>> {
    return this.#call('imdsConnections', {})
  }

  /** Clears the records of calls, counts and requests. */
  async clearRecords(): Promise<void> {
    await this.#call('clearRecords', {})
  }

  /** Restores the state after the start: no roles, users, faults or records. Node credentials that were already issued stay valid. */
  async reset(): Promise<void> {
    await this.#call('reset', {})
  }

  /** Ends the process and removes its directory. May be called again. */
  async stop(): Promise<void> {
    this.#agent.destroy()
    await endProcess(this.#child)
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #call<K extends keyof Operations>(
    name: K,
    argument: Parameters<Operations[K]>[0] | Record<string, never>,
  ): Promise<Awaited<ReturnType<Operations[K]>>> {
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<Operations[K]>>>()
    const outgoing = request(
      {
        socketPath: this.config.controlSocket,
        path: `/${name}`,
        method: 'POST',
        agent: this.#agent,
        timeout: 60_000,
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const body = JSON.parse(Buffer.concat(chunks).toString())
          if (response.statusCode === 200) resolve(body)
          else reject(new Error(`AWS refused ${name}: ${body.error}`))
        })
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error(`AWS did not answer ${name} in time`)))
    outgoing.on('error', reject)
    outgoing.end(JSON.stringify(argument))
    return promise
  }
}

function spawnHere(argv: readonly string[]): ChildProcess {
  const [program = process.execPath, ...args] = argv
  return spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
}

function matching<T extends object>(entries: readonly T[], match: Partial<T>): readonly T[] {
  const wanted = Object.entries(match)
  return entries.filter((entry) =>
    wanted.every(([key, value]) => (entry as Record<string, unknown>)[key] === value),
  )
}
