import { BoundedMap } from '../../../common/bounded-map.ts'
import { type Clock, systemClock } from '../../../common/clock.ts'
import { Problem } from '../../../common/protocol.ts'
import type { WebIdentityToken } from '../authenticate/web-identity.ts'
import type { SessionRequest } from '../authorize/entitlement.ts'
import { classifyStsError, type StsFailure } from './classify.ts'
import type { Session, Sts } from './sts-client.ts'

/**
 * Assumes a role, with the two remedies that the broker can apply itself.
 *
 * @param isWanted whether the request is still granted; asked right before each call, when it is known who makes it
 * @param webIdentity the pod's token, for a request by web identity
 * @throws what STS threw last
 */
export type Assume = (
  request: SessionRequest,
  isWanted?: () => boolean,
  webIdentity?: WebIdentityToken,
) => Promise<Session>

/** Limit for sessions assumed with credentials that are themselves of an assumed role, as the node's are. */
const CHAINING_SECONDS = 3600
const MAX_SHORTENED = 1024
/** Clocks that differ by less count as equal: calls take seconds, and the SDK notices differences from four minutes on. */
const SAME_TIME_MS = 120_000

/**
 * AssumeRole, with these remedies: if more than an hour is refused because of role chaining, an hour is requested, also in later calls for that
 * role; if the node's credentials are refused, they are fetched again, once.
 *
 * The expiration of a session is converted to the node's clock, which broker, sidecars and the SDKs of the pods all use. Where that clock
 * is wrong by hours, AWS's own date would make the session look expired, or valid for hours after its end.
 *
 * @param onCall called with every call's outcome
 * @param follow called before each call: if the credentials in use have changed, it determines whose they are and has all grants
 *   reviewed, so that no role is assumed that is no longer granted, above all none that is now the node's own
 */
export function assumer(
  sts: Sts,
  onCall: (outcome: 'success' | StsFailure) => void,
  follow: () => Promise<void> = async () => {},
  clock: Pick<Clock, 'now'> = systemClock,
): Assume {
  const shortened = new BoundedMap<string, true>(MAX_SHORTENED)

  const call = async (request: SessionRequest, isWanted: () => boolean): Promise<Session> => {
    await follow()
    if (!isWanted()) throw withdrawn()
    const durationSeconds = shortened.has(request.roleArn) ? CHAINING_SECONDS : request.durationSeconds
    try {
      const session = await sts.assumeRole({ ...request, durationSeconds })
      onCall('success')
      return toNodeClock(session, clock.now())
    } catch (error) {
      onCall(classifyStsError(error))
      throw error
    }
  }
  return async (request, isWanted = () => true) => {
    try {
      return await call(request, isWanted)
    } catch (error) {
      const failure = classifyStsError(error)
      if (failure === 'chaining' && !shortened.has(request.roleArn)) {
        shortened.set(request.roleArn, true)
        return call(request, isWanted)
      }
      if (failure !== 'node-credentials') throw error
      await sts.renewCredentials()
      return call(request, isWanted)
    }
  }
}

const WITHDRAWN = 'the pod or its permission went away while its credentials were fetched; retry'

/** The problem if the grant became invalid while its session was fetched. */
export const withdrawn = () => new Problem('busy', WITHDRAWN, { retryAfter: 1 })
export const isWithdrawn = (error: unknown) => error instanceof Problem && error.message === WITHDRAWN

/** The session with its expiration converted to the node's clock. */
export function toNodeClock(session: Session, now: number): Session {
  const ahead = (session.awsNow ?? now) - now
  return Math.abs(ahead) < SAME_TIME_MS ? session : { ...session, expiration: session.expiration - ahead }
}
