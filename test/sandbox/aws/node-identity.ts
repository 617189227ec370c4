/** The instance's own credentials: the node role through the instance profile, and EC2's instance identity role. */
import type { AwsConfig } from './config.ts'
import { makeId } from './credentials.ts'
import type { Iam, Session } from './iam.ts'
import type { ImdsSettings } from './model.ts'

export class NodeIdentity {
  readonly #config: AwsConfig
  readonly #iam: Iam
  readonly #now: () => number
  readonly #settings: () => ImdsSettings
  readonly instanceProfileId = makeId('AIPA', 17)
  #role: string
  #current: Session | undefined
  #instanceIdentity: Session | undefined

  constructor(config: AwsConfig, iam: Iam, now: () => number, settings: () => ImdsSettings) {
    this.#config = config
    this.#iam = iam
    this.#now = now
    this.#settings = settings
    this.#role = config.nodeRoleArn
  }

  /** ARN of the role of the instance profile that is attached now. */
  get role(): string {
    return this.#role
  }

  /** ARN of the instance profile that is attached now. */
  get profile(): string {
    const { nodeRoleArn, instanceProfileArn } = this.#config
    return this.#role === nodeRoleArn
      ? instanceProfileArn
      : this.#role.replace(':role/', ':instance-profile/')
  }

  /** Attaches the instance profile of another role; the former credentials stay valid until they expire. */
  attach(roleArn: string): Session {
    this.#role = roleArn
    return this.rotate()
  }

  /**
   * The node role's credentials. New ones are issued five minutes before the old ones expire (as EC2 promises), or at half
   * of a lifetime shorter than ten minutes; never while rotation is held.
   */
  credentials(): Session {
    const current = this.#current
    if (!current) return this.rotate()
    const lifetime = current.expiresAt - current.issuedAt
    const due = current.expiresAt - this.#now() < Math.min(300_000, lifetime / 2)
    return due && this.#settings().credentialRotation === 'auto' ? this.rotate() : current
  }

  /** Issues new credentials for the node now; the old ones stay valid until they expire. */
  rotate(): Session {
    const { instanceId } = this.#config
    const role = this.#iam.role(this.#role)
    if (!role) throw new Error(`the node role ${this.#role} does not exist`)
    const arn = this.#role.replace(/:iam:(.*):role\/.*$/, `:sts:$1:assumed-role/${role.name}/${instanceId}`)
    this.#current = this.#issue({ arn, role: this.#role, by: 'instance-profile', userId: role.id })
    return this.#current
  }

  /** Expires the node's credentials now, as when a role is detached or a session revoked; returns their access key id. */
  expire(): void {
    const { accessKeyId } = this.credentials()
    this.#iam.expire({ accessKeyId }, this.#now())
  }

  /** Credentials of `identity-credentials/ec2`: issued for AWS's own agents on the instance. */
  instanceIdentity(): Session {
    const old = this.#instanceIdentity
    if (old && old.expiresAt - this.#now() > 300_000) return old
    const { account, instanceId, nodeRoleArn } = this.#config
    const partition = nodeRoleArn.split(':')[1] ?? 'aws'
    const arn = `arn:${partition}:sts::${account}:assumed-role/aws:ec2-instance/${instanceId}`
    this.#instanceIdentity = this.#issue({
      arn,
      role: null,
      by: 'instance-identity',
      userId: `${account}:aws:ec2-instance`,
    })
    return this.#instanceIdentity
  }

  #issue(what: Pick<Session, 'arn' | 'role' | 'by' | 'userId'>): Session {
    const { account, instanceId } = this.#config
    const issuedAt = this.#now()
    return this.#iam.issue({
      ...what,
      userId: `${what.userId}:${instanceId}`,
      session: instanceId,
      account: what.role?.split(':')[4] ?? account,
      issuedAt,
      expiresAt: issuedAt + this.#settings().credentialLifetime * 1000,
      tags: new Map(),
      transitive: [],
      sourceIdentity: undefined,
      policy: undefined,
      policyArns: [],
    })
  }
}
