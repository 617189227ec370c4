import { awsMessage } from './classify.ts'
import type { Sts } from './sts-client.ts'

const HOP_SECONDS = 3600

/**
 * Credentials of the stable hop (`--assume-role-arn`, kiam's name for it): one role that the node role assumes first, so that
 * pod roles trust one ARN although node roles change. For {@link stsClient}, which fetches them again in time.
 *
 * @param node STS with the node's own credentials
 */
export function hopCredentials(node: Sts, roleArn: string, sessionName: string) {
  return async () => {
    try {
      const session = await node.assumeRole({
        roleArn,
        sessionName,
        externalId: undefined,
        tags: [],
        sourceIdentity: undefined,
        policyArns: [],
        durationSeconds: HOP_SECONDS,
      })
      const { accessKeyId, secretAccessKey, sessionToken, expiration } = session
      return { accessKeyId, secretAccessKey, sessionToken, expiration: new Date(expiration) }
    } catch (error) {
      // Under the SDK's own name for it, so that it is not taken for a refusal of the pod's role.
      const message = `--assume-role-arn ${roleArn} could not be assumed: ${awsMessage(error, undefined)}`
      throw Object.assign(new Error(message, { cause: error }), { name: 'CredentialsProviderError' })
    }
  }
}
