/** The way of a request through the broker, step by step. */
import { imdsTime, Problem } from '../../../common/protocol.ts'
import type { Who } from '../authenticate/authenticate.ts'
import type { Entitlement } from '../authorize/entitle.ts'
import type { Metadata } from '../instance/snapshot.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import type { Issued } from '../sessions/life.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { BrokerRoutes } from './app.ts'

/** @param onRefused told when a pod that is known gets nothing */
export function brokerRoutes(
  who: Who,
  sessions: Sessions,
  snapshot: Metadata,
  onRefused: (pod: PodRecord, problem: Problem) => void,
): BrokerRoutes {
  const decide = async (pod: PodRecord): Promise<Entitlement> => {
    try {
      const entitlement = who.entitlement(pod, await who.namespaceOf(pod))
      await who.checkGuarded()
      return entitlement
    } catch (error) {
      if (error instanceof Problem) onRefused(pod, error)
      throw error
    }
  }
  return {
    credentials: async (caller) => {
      const pod = await who.identify(caller)
      const entitlement = await decide(pod)
      const { uid, namespace, name } = pod
      const issued = await sessions.get({ pod: { uid, namespace, name }, request: entitlement.request })
      return credentialsBody(entitlement, issued)
    },
    metadata: async (caller) => {
      await who.namespaceOf(await who.identify(caller))
      await snapshot.tried
      const body = snapshot.current()
      if (Object.keys(body).length === 0)
        throw new Problem('busy', 'the node’s metadata is not known yet; retry', { retryAfter: 2 })
      return body
    },
    // Whoever is refused a role waits for its deletion as well: no more is asked than who it is.
    pod: async (caller) => ({ terminating: (await who.identify(caller)).terminating }),
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
