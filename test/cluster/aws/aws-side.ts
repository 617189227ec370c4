/** AWS as the promises need it: roles, and the owner of credentials. */
import type { CredentialDocument } from '../programs/reports.ts'

export type AwsSide = {
  /** For the report. */
  readonly title: string
  /** Prefix of the roles' ARNs. */
  readonly baseRoleArn: string
  /** A role that trusts the node role. */
  readonly role: string
  /** Another role, which the namespace of the first must not have. */
  readonly otherRole: string
  readonly brokerEnvironment: readonly { readonly name: string; readonly value: string }[]
  /** Whether {@link identify} needs the id of a key only. */
  readonly knowsKeys: boolean
  /** The ARN these credentials act as, e.g. `arn:aws:sts::1…:assumed-role/orders/shop.app`; undefined when AWS does not know them. */
  readonly identify: (
    credentials: Pick<CredentialDocument, 'AccessKeyId'> & Partial<CredentialDocument>,
  ) => Promise<string | undefined>
  /** Makes STS unavailable and available again; undefined if that is not possible. */
  readonly setStsAvailable?: (available: boolean) => Promise<void>
  /** An operation of the stand-in's control (test/sandbox/aws/control.ts) on every node, one result each; undefined with real AWS. */
  readonly control?: <T>(operation: string, argument?: object) => Promise<T[]>
  /** The URL of STS for programs on nodes; undefined if the SDK's default is right. */
  readonly stsUrl?: string
  /** Addresses that reached the metadata service; undefined if that is not known. */
  readonly visitors?: () => Promise<string[]>
  readonly forgetVisitors?: () => Promise<void>
  /** Addresses that a node itself connects from. */
  readonly nodeAddresses: readonly string[]
}
