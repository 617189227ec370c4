import type { SessionRequest } from '../decide/entitle.ts'
import { classifyStsError, type StsFailure } from './classify.ts'
import type { Session, Sts } from './client.ts'

/** One issuance with the two remedies that need nobody's help. @throws what STS threw last */
export type Assume = (request: SessionRequest) => Promise<Session>

/** Limit for sessions assumed with credentials that are themselves of an assumed role, as the node's are. */
const CHAINING_SECONDS = 3600
const REMEMBERED_ROLES = 1024

/**
 * AssumeRole, with these remedies: longer than an hour refused for chaining → an hour, remembered for the role; the node's
 * credentials refused → fetched again, once.
 *
 * @param onCall told of every call's outcome
 */
export function assumer(sts: Sts, onCall: (outcome: 'success' | StsFailure) => void): Assume {
  const shortened = new Set<string>()

  const call = async (request: SessionRequest): Promise<Session> => {
    const durationSeconds = shortened.has(request.roleArn) ? CHAINING_SECONDS : request.durationSeconds
    try {
      const session = await sts.assumeRole({ ...request, durationSeconds })
      onCall('success')
      return session
    } catch (error) {
      onCall(classifyStsError(error))
      throw error
    }
  }
  return async (request) => {
    try {
      return await call(request)
    } catch (error) {
      const failure = classifyStsError(error)
      if (failure === 'chaining' && !shortened.has(request.roleArn)) {
        if (shortened.size >= REMEMBERED_ROLES) shortened.clear()
        shortened.add(request.roleArn)
        return call(request)
      }
      if (failure !== 'node-credentials') throw error
      await sts.renewCredentials()
      return call(request)
    }
  }
}
