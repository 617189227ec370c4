/** The state of the stand-in: one clock, one IAM, one node, the records of requests and the faults. */
import { CallCounts } from './call-counts.ts'
import type { AwsConfig } from './config.ts'
import { Faults } from './faults.ts'
import { Iam } from './iam.ts'
import { Journal } from './journal.ts'
import type { ImdsRequest, ImdsSettings, Statement, StsCall, StsSettings } from './model.ts'
import { NodeIdentity } from './node-identity.ts'
import { allowAssume } from './policies.ts'

const MAX_RECORDS = 50_000

const IMDS_DEFAULTS: ImdsSettings = {
  httpEndpoint: 'enabled',
  httpTokens: 'optional',
  instanceProfile: true,
  credentialLifetime: 6 * 3600,
  credentialRotation: 'auto',
  credentialCode: 'Success',
  extendedCredentials: false,
  instanceTags: { Name: 'sandbox-node' },
  override: {},
}

export class World {
  readonly config: AwsConfig
  readonly iam: Iam
  readonly node: NodeIdentity
  readonly faults = new Faults()
  readonly calls = new Journal<StsCall>(MAX_RECORDS)
  readonly counts = new CallCounts()
  readonly imdsRequests = new Journal<ImdsRequest>(MAX_RECORDS)
  /** Peer address → number of TCP connections to the metadata service, including those without a request. */
  readonly imdsConnections = new Map<string, number>()
  imds = IMDS_DEFAULTS
  sts: StsSettings
  #clockOffset = 0

  constructor(config: AwsConfig) {
    this.config = config
    this.sts = this.#stsDefaults()
    this.iam = new Iam(config)
    this.node = new NodeIdentity(
      config,
      this.iam,
      () => this.now(),
      () => this.imds,
    )
    this.setNodePolicy([allowAssume('*')])
  }

  /** AWS's clock, in milliseconds since the epoch. */
  now(): number {
    return Date.now() + this.#clockOffset
  }

  /** Sets how many milliseconds AWS's clock is ahead of this machine's (negative: behind it). */
  setClockOffset(milliseconds: number): void {
    if (!Number.isFinite(milliseconds)) throw new Error('the clock offset must be a number of milliseconds')
    this.#clockOffset = milliseconds
  }

  /** The permissions of the node role. By default it may assume every role that trusts it. */
  setNodePolicy(policy: readonly Statement[]): void {
    const trustPolicy = {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Principal: { Service: 'ec2.amazonaws.com' }, Action: 'sts:AssumeRole' }],
    } as const
    this.iam.putRole({ arn: this.config.nodeRoleArn, trustPolicy, policy })
  }

  setImds(changes: Partial<ImdsSettings>): void {
    this.imds = merged(this.imds, changes)
  }

  setSts(changes: Partial<StsSettings>): void {
    this.sts = merged(this.sts, changes)
  }

  /** Clears the records of requests. */
  clearRecords(): void {
    this.calls.clear()
    this.counts.clear()
    this.imdsRequests.clear()
    this.imdsConnections.clear()
  }

  /** Restores the state after the start; node credentials that were issued before keep their validity. */
  reset(): void {
    this.iam.reset([this.config.nodeRoleArn])
    this.setNodePolicy([allowAssume('*')])
    this.faults.clear()
    this.imds = IMDS_DEFAULTS
    this.sts = this.#stsDefaults()
    this.#clockOffset = 0
    // The last ones may have been expired on purpose, or were issued at another time.
    this.node.attach(this.config.nodeRoleArn)
    this.clearRecords()
  }

  #stsDefaults(): StsSettings {
    return { instanceProfileIsChaining: true, clockSkewMinutes: 5, regions: [this.config.region] }
  }
}

/** The settings with some of them changed. Throws on a name that is not a setting, because a typo must not be ignored. */
function merged<T extends object>(settings: T, changes: Partial<T>): T {
  const strange = Object.keys(changes).find((key) => !Object.hasOwn(settings, key))
  if (strange !== undefined)
    throw new Error(`there is no setting "${strange}"; there are ${Object.keys(settings).join(', ')}`)
  return { ...settings, ...changes }
}
