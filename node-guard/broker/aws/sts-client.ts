/** STS through the AWS SDK, which brings the credential chain, SigV4 and the endpoints of every partition. */
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import type { SessionRequest } from '../authorize/entitle.ts'
import { isConnectionLoss } from './classify.ts'

/** Temporary credentials. Times in milliseconds. */
export type Session = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken: string
  readonly expiration: number
  /** AWS's time when it answered, where that is known. */
  readonly awsNow?: number
}

export type Sts = {
  /** @throws what the SDK throws; `classifyStsError` reads it */
  readonly assumeRole: (request: SessionRequest) => Promise<Session>
  /** ARN of the identity that the credentials belong to. */
  readonly callerArn: () => Promise<string>
  /** Access key id of the credentials in use: fetches them where there are none. */
  readonly accessKeyId: () => Promise<string>
  /** Fetches the credentials again: STS has just refused them. */
  readonly renewCredentials: () => Promise<void>
  readonly close: () => void
}

type Identity = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
}

const CONNECT_MS = 2000
const REQUEST_MS = 5000
/** Of one call with its retry and, before it, the fetch of the node's credentials. */
const TOTAL_MS = 12_000

/**
 * A client of the regional endpoint (`AWS_ENDPOINT_URL_STS`, FIPS and dual-stack settings are honoured by the SDK).
 *
 * @param concurrency most connections at once
 * @param credentials where they come from; the SDK's default chain where absent
 */
export function stsClient(region: string, concurrency: number, credentials?: () => Promise<Identity>): Sts {
  const client = new STSClient({
    region,
    ...(credentials ? { credentials } : {}),
    // One: back-off, rate and concurrency are the session store's; retries behind its back would be calls nobody counts.
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
      httpsAgent: { keepAlive: true, maxSockets: concurrency },
      httpAgent: { keepAlive: true, maxSockets: concurrency },
    },
  })
  const retryingLoss = async <T>(call: () => Promise<T>): Promise<T> => {
    try {
      return await call()
    } catch (error) {
      if (!isConnectionLoss(error)) throw error
      return call()
    }
  }
  return {
    assumeRole: async (request) => {
      const abortSignal = AbortSignal.timeout(TOTAL_MS)
      const { Credentials } = await retryingLoss(() =>
        client.send(
          new AssumeRoleCommand({
            RoleArn: request.roleArn,
            RoleSessionName: request.sessionName,
            DurationSeconds: request.durationSeconds,
            ...(request.externalId === undefined ? {} : { ExternalId: request.externalId }),
            ...(request.tags.length === 0 ? {} : { Tags: [...request.tags] }),
          }),
          { abortSignal },
        ),
      )
      const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = Credentials ?? {}
      if (!AccessKeyId || !SecretAccessKey || !SessionToken || !Expiration)
        throw new Error('STS answered without credentials')
      return {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: SessionToken,
        expiration: Expiration.getTime(),
        // The SDK learns from the Date of answers by how much this clock is wrong, from four minutes on.
        awsNow: Date.now() + client.config.systemClockOffset,
      }
    },
    callerArn: async () => {
      const abortSignal = AbortSignal.timeout(TOTAL_MS)
      const { Arn } = await retryingLoss(() => client.send(new GetCallerIdentityCommand({}), { abortSignal }))
      if (!Arn) throw new Error('STS answered GetCallerIdentity without an ARN')
      return Arn
    },
    accessKeyId: async () => (await client.config.credentials()).accessKeyId,
    renewCredentials: async () => {
      await client.config.credentials({ forceRefresh: true })
    },
    close: () => client.destroy(),
  }
}
