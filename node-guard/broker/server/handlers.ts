/** The broker's answers on each of its paths. */
import { imdsTime, Problem } from '../../../common/protocol.ts'
import type { Authenticate, Caller } from '../authenticate/authenticate.ts'
import type { CheckWebIdentity } from '../authenticate/web-identity.ts'
import type { Authorizer } from '../authorize/authorize.ts'
import type { Entitlement } from '../authorize/entitlement.ts'
import type { MetadataSnapshot } from '../instance/snapshot.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import { grantOf } from '../sessions/entries.ts'
import type { Issued } from '../sessions/lifetime.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { BrokerHandlers } from './app.ts'

export function brokerHandlers({
  authenticate,
  checkWebIdentity,
  authorizer,
  sessions,
  snapshot,
  onRefused,
  onRejected,
}: {
  readonly authenticate: Authenticate
  readonly checkWebIdentity: CheckWebIdentity
  readonly authorizer: Authorizer
  readonly sessions: Pick<Sessions, 'get'>
  readonly snapshot: MetadataSnapshot
  readonly onRefused: (pod: PodRecord, problem: Problem) => void
  readonly onRejected: (peer: Caller['peer'], problem: Problem) => void
}): BrokerHandlers {
  /** What the pod may have, with its second token if that is to decide. */
  const entitled = async (pod: PodRecord, webIdentity: string | undefined) => {
    try {
      const entitlement = await authorizer.authorize(pod)
      const token = entitlement.request.webIdentity && (await checkWebIdentity(webIdentity, pod))
      return { entitlement, token }
    } catch (error) {
      if (error instanceof Problem) onRefused(pod, error)
      throw error
    }
  }
  return {
    credentials: async (caller) => {
      const pod = await authenticate(caller)
      const { entitlement, token } = await entitled(pod, caller.webIdentity)
      const issued = await sessions.get(grantOf(pod, entitlement), token)
      return credentialsBody(entitlement, issued)
    },
    metadata: async (caller) => {
      await authorizer.namespaceOf(await authenticate(caller))
      await snapshot.firstRead
      const body = snapshot.current()
      if (Object.keys(body).length === 0)
        throw new Problem('busy', 'the node’s metadata is not known yet; retry', { retryAfter: 2 })
      return body
    },
    // A pod that is refused a role waits for its deletion as well, so it is only authenticated.
    pod: async (caller) => ({ terminating: (await authenticate(caller)).terminating }),
    rejected: ({ peer }, problem) => onRejected(peer, problem),
  }
}

function credentialsBody({ role, roleText }: Entitlement, issued: Issued) {
  return {
    Code: 'Success',
    AccessKeyId: issued.accessKeyId,
    SecretAccessKey: issued.secretAccessKey,
    Token: issued.sessionToken,
    Expiration: imdsTime(issued.expiration),
    LastUpdated: imdsTime(issued.issuedAt),
    AccountId: role.account,
    Role: roleText,
    RoleArn: role.arn,
  } as const
}
