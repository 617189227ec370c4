/** AWS as the promises need it: roles, and who some credentials belong to. */
import type { CredentialDocument } from '../programs/reports.ts'

export type AwsSide = {
  /** For the report. */
  readonly title: string
  /** Prefix of the roles' ARNs. */
  readonly baseRoleArn: string
  /** A role that trusts the node role. */
  readonly role: string
  /** Another one, which the namespace of the first must not have. */
  readonly otherRole: string
  readonly brokerEnvironment: readonly { readonly name: string; readonly value: string }[]
  /** Whether {@link identify} needs the id of a key only. */
  readonly knowsKeys: boolean
  /** The ARN these credentials act as, e.g. `arn:aws:sts::1…:assumed-role/orders/shop.app`; undefined when AWS does not know them. */
  readonly identify: (
    credentials: Pick<CredentialDocument, 'AccessKeyId'> & Partial<CredentialDocument>,
  ) => Promise<string | undefined>
  /** Makes STS unavailable and available again; undefined where that cannot be done. */
  readonly setStsAvailable?: (available: boolean) => Promise<void>
  /** An operation of the stand-in's control (test/sandbox/aws/control.ts) on every node, a result each; undefined with real AWS. */
  readonly control?: <T>(operation: string, argument?: object) => Promise<T[]>
  /** Where STS is, for programs on nodes; undefined: where the SDK knows it to be. */
  readonly stsUrl?: string
  /** Addresses that reached the metadata service; undefined where that is not known. */
  readonly visitors?: () => Promise<string[]>
  readonly forgetVisitors?: () => Promise<void>
  /** Addresses from which a node itself comes. */
  readonly nodeAddresses: readonly string[]
}
