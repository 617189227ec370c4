/** STS through the AWS SDK, which brings the credential chain, SigV4 and the endpoints of every partition. */
import {
  AssumeRoleCommand,
  AssumeRoleWithWebIdentityCommand,
  type Credentials,
  GetCallerIdentityCommand,
  STSClient,
} from '@aws-sdk/client-sts'
import type { SessionRequest } from '../authorize/entitlement.ts'
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
  /** @throws what the SDK throws; `classifyStsError` classifies it */
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
    ...clientOptions(region, concurrency),
    ...(credentials ? { credentials } : {}),
  })
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
            ...(request.sourceIdentity === undefined ? {} : { SourceIdentity: request.sourceIdentity }),
            ...narrowed(request),
          }),
          { abortSignal },
        ),
      )
      return sessionOf(Credentials, client)
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

/** STS by web identity only: it has no credentials, and the SDK signs nothing. */
export type WebIdentitySts = {
  /** @throws what the SDK throws; `classifyWebIdentityError` classifies it */
  readonly assumeRole: (request: SessionRequest, token: string) => Promise<Session>
}

/** The same regional endpoint as {@link stsClient}'s. */
export function webIdentityClient(region: string, concurrency: number): WebIdentitySts {
  const client = new STSClient({
    ...clientOptions(region, concurrency),
    // For a call without a signature the SDK requests no credentials; should that ever change, it must not find the node's.
    credentials: () => Promise.reject(new Error('no credentials are used by web identity')),
  })
  return {
    assumeRole: async (request, token) => {
      const abortSignal = AbortSignal.timeout(TOTAL_MS)
      const { Credentials } = await retryingLoss(() =>
        client.send(
          new AssumeRoleWithWebIdentityCommand({
            RoleArn: request.roleArn,
            RoleSessionName: request.sessionName,
            DurationSeconds: request.durationSeconds,
            WebIdentityToken: token,
            ...narrowed(request),
          }),
          { abortSignal },
        ),
      )
      return sessionOf(Credentials, client)
    },
  }
}

const narrowed = ({ policyArns }: SessionRequest) =>
  policyArns.length === 0 ? {} : { PolicyArns: policyArns.map((arn) => ({ arn })) }

function clientOptions(region: string, concurrency: number) {
  return {
    region,
    // One: the session store is responsible for back-off, rate and concurrency, and would not count retries of the SDK.
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
      httpsAgent: { keepAlive: true, maxSockets: concurrency },
      httpAgent: { keepAlive: true, maxSockets: concurrency },
    },
  }
}

async function retryingLoss<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (!isConnectionLoss(error)) throw error
    return call()
  }
}

function sessionOf(credentials: Credentials | undefined, { config }: STSClient): Session {
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = credentials ?? {}
  if (!AccessKeyId || !SecretAccessKey || !SessionToken || !Expiration)
    throw new Error('STS answered without credentials')
  return {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: SessionToken,
    expiration: Expiration.getTime(),
    // The SDK learns from the Date of answers by how much this clock is wrong, from four minutes on.
    awsNow: Date.now() + config.systemClockOffset,
  }
}
