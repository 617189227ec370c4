/** Whether a pod may have credentials: the last two of the seven steps of `authenticate/authenticate.ts`. */
import type { CredentialSource } from '../../../common/credential-source.ts'
import { Problem } from '../../../common/protocol.ts'
import type { LiveReads } from '../kubernetes/live-reads.ts'
import type { Namespaces } from '../kubernetes/namespaces.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import type { ServiceAccounts } from '../kubernetes/service-accounts.ts'
import {
  checkNamespace,
  checkSource,
  type EntitlementSettings,
  entitlementOf,
  type NodeRoles,
} from './entitlement.ts'

export type Authorizer = ReturnType<typeof authorizer>

type AuthorizeDeps = {
  readonly namespaces: Pick<Namespaces, 'get'>
  readonly reads: Pick<LiveReads, 'namespace'>
  /** Undefined if roles do not come from service accounts. */
  readonly accounts: Pick<ServiceAccounts, 'get' | 'read'> | undefined
  readonly settings: EntitlementSettings & { readonly requireFirewall: boolean }
  /** The node's roles, for pods of a source. @throws {Problem} `node-credentials-unavailable` while they are not known */
  readonly roles: (source: CredentialSource) => NodeRoles
  /** Why the node is not guarded, or undefined when it is. */
  readonly whyUnguarded: () => Promise<string | undefined>
}

export function authorizer(deps: AuthorizeDeps) {
  const { namespaces, reads, accounts, settings, roles } = deps
  const { nodeName } = settings
  const rolesFor = (pod: PodRecord) => roles(checkSource(pod, settings))

  const namespaceOf = async ({ namespace }: PodRecord) => {
    const known = namespaces.get(namespace)
    return known?.injection ? known : checkNamespace(namespace, await reads.namespace(namespace))
  }
  const checkGuarded = async () => {
    const why = settings.requireFirewall ? await deps.whyUnguarded() : undefined
    if (why) throw new Problem('node-unguarded', `node ${nodeName} is not guarded: ${why}`, { retryAfter: 5 })
  }
  return {
    /** The pod's namespace, which is opted in. @throws {Problem} `namespace-not-enabled`, `busy` */
    namespaceOf,
    /** Step 6 with what the watches have reported, without a live read. @throws {Problem} */
    entitlement: (pod: PodRecord) =>
      entitlementOf(pod, namespaces.get(pod.namespace), rolesFor(pod), settings, accounts?.get(pod)),
    /** Steps 6 and 7. @throws {Problem} */
    authorize: async (pod: PodRecord) => {
      const namespace = await namespaceOf(pod)
      const account = pod.identity?.source === 'none' ? undefined : await accounts?.read(pod)
      const entitlement = entitlementOf(pod, namespace, rolesFor(pod), settings, account)
      await checkGuarded()
      return entitlement
    },
  }
}
