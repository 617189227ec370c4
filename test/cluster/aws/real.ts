/** Real AWS: nothing is created there; the owner of credentials is looked up with STS from this machine. */
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import type { AwsSide } from './aws-side.ts'

/** @param role ARN of a role that trusts the node role */
export function realAws(role: string, region: string): AwsSide {
  const baseRoleArn = role.replace(/(:role\/).*$/, '$1')
  return {
    title: `AWS in ${region}`,
    baseRoleArn,
    role,
    // Admission refuses it before anybody asks AWS, so it need not exist.
    otherRole: `${baseRoleArn}pod2iam-test-other`,
    brokerEnvironment: [],
    nodeAddresses: [],
    knowsKeys: false,
    identify: async ({ AccessKeyId, SecretAccessKey, Token }) => {
      if (SecretAccessKey === undefined || Token === undefined) return undefined
      const credentials = {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: Token,
      }
      const { Arn } = await new STSClient({ region, credentials }).send(new GetCallerIdentityCommand({}))
      return Arn
    },
  }
}
