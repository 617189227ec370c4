/** STS of one account in one Region, as the whole fleet calls it. */
import { tokenBucket } from '../../common/token-bucket.ts'
import type { Session, Sts } from '../../node-guard/broker/aws/sts-client.ts'
import { type Span, spanAt } from './span.ts'
import type { Time } from './time.ts'

export type StsModel = {
  /** The client of one broker; `node` counts its calls. */
  readonly connect: (node: number) => Sts
  /** For each whole second since the start: calls answered with a session, and calls refused by the quota or not answered. */
  readonly granted: number[]
  readonly refused: number[]
  /** The most calls of one node in one second. */
  readonly mostOfOneNode: () => number
}

/** An answer takes this long, milliseconds, and up to as much again. */
const ANSWER_MS = 50
/** The SDK's client stops connecting after this time (`aws/sts-client.ts`). */
const NO_CONNECTION_MS = 2000
const NODE_KEY = 'ASIANODE'
const KEY_PREFIX = 'ASIA'

/** When AWS no longer accepts the credentials with this key. */
export const endOfKey = (accessKeyId: string) => Number(accessKeyId.slice(KEY_PREFIX.length))

/**
 * @param perSecond the account's quota for this Region, with a burst of one second's worth
 * @param away when no connection can be made
 */
export function stsModel(time: Time, perSecond: number, away: readonly Span[]): StsModel {
  const start = time.now()
  const quota = tokenBucket(perSecond, perSecond, time)
  const granted: number[] = []
  const refused: number[] = []
  const count = (series: number[]) => {
    const second = Math.floor((time.now() - start) / 1000)
    series[second] = (series[second] ?? 0) + 1
  }
  let most = 0
  const wait = (milliseconds: number) =>
    new Promise<void>((done) => {
      time.after(milliseconds, done)
    })

  const assumeRole = async (durationSeconds: number): Promise<Session> => {
    if (spanAt(away, time.now())) {
      count(refused)
      await wait(NO_CONNECTION_MS)
      throw Object.assign(new Error('socket did not establish a connection'), { name: 'TimeoutError' })
    }
    const isGranted = quota.take()
    count(isGranted ? granted : refused)
    await wait(ANSWER_MS * (1 + Math.random()))
    if (!isGranted)
      throw Object.assign(new Error('Rate exceeded'), {
        name: 'Throttling',
        $metadata: { httpStatusCode: 400 },
      })
    const expiration = Math.floor(time.now() / 1000) * 1000 + durationSeconds * 1000
    return {
      // The key says when it really expires, whatever the node's clock makes of that.
      accessKeyId: `${KEY_PREFIX}${expiration}`,
      secretAccessKey: 'secret',
      sessionToken: 'token',
      expiration,
      awsNow: time.now(),
    }
  }
  return {
    granted,
    refused,
    mostOfOneNode: () => most,
    connect: () => {
      let [second, calls] = [0, 0]
      return {
        assumeRole: ({ durationSeconds }) => {
          const now = Math.floor(time.now() / 1000)
          if (now !== second) [second, calls] = [now, 0]
          calls++
          most = Math.max(most, calls)
          return assumeRole(durationSeconds)
        },
        callerArn: () => Promise.reject(new Error('the simulation tells it by the metadata service')),
        accessKeyId: () => Promise.resolve(NODE_KEY),
        renewCredentials: () => Promise.resolve(),
        close: () => {},
      }
    },
  }
}

/** The metadata service of a node, which provides the node's identity. */
export function imdsModel() {
  const answers: Readonly<Record<string, string>> = {
    'meta-data/': 'iam/\nplacement/',
    'meta-data/placement/': 'region',
    'meta-data/placement/region': 'eu-central-1',
    'meta-data/iam/security-credentials/': 'node',
    'meta-data/iam/security-credentials/node': JSON.stringify({ AccessKeyId: NODE_KEY }),
    'meta-data/iam/info': JSON.stringify({
      InstanceProfileArn: 'arn:aws:iam::111111111111:instance-profile/node',
    }),
  }
  return { get: (path: string) => Promise.resolve(answers[path]), close: () => {} }
}
