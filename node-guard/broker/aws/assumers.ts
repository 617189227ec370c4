/** Assumes the roles of pods by their credential source: with the node's role, or by web identity. */
import type { CredentialSource } from '../../../common/credential-source.ts'
import type { Deps } from '../../../common/deps.ts'
import type { NodeRoles } from '../authorize/entitlement.ts'
import type { Imds } from '../instance/imds.ts'
import type { BrokerSettings } from '../settings.ts'
import type { Assume } from './assume.ts'
import type { StsFailure } from './classify.ts'
import { nodeIdentity } from './node-identity.ts'
import { stsClient, webIdentityClient } from './sts-client.ts'
import { webIdentityAssumer } from './web-identity.ts'

export type Assumers = ReturnType<typeof assumersOf>

/** Only what the sources in `--credential-sources` need is discovered: without `node-role`, the node's credentials are never requested. */
export function assumersOf(
  settings: Parameters<typeof nodeIdentity>[0] & Pick<BrokerSettings, 'credentialSources'>,
  deps: Omit<Deps, 'kube'> & {
    readonly imds: Imds
    readonly connectSts?: typeof stsClient
    readonly connectWebIdentity?: typeof webIdentityClient
  },
  onCall: (outcome: 'success' | StsFailure) => void,
) {
  const { connectSts = stsClient, connectWebIdentity: connect = webIdentityClient } = deps
  const identity = nodeIdentity(settings, { ...deps, connectSts }, onCall)
  const byToken = webIdentityAssumer(settings, { ...deps, connect }, onCall)
  const uses = (source: CredentialSource) => settings.credentialSources.includes(source)
  const assume: Assume = (request, isWanted, token) =>
    (request.webIdentity ? byToken : identity).assume(request, isWanted, token)
  return {
    /** Discovers what each source needs to know; `onKnown` is called after each change. */
    start: (onKnown: () => void) => {
      if (uses('node-role')) identity.start(onKnown)
      if (uses('web-identity')) byToken.start(onKnown)
    },
    /** The base role ARN and the node's own roles, for pods of a source. @throws {Problem} while they are not known */
    roles: (source: CredentialSource): NodeRoles => {
      if (source === 'node-role') return identity.roles()
      // Its pods do not wait for the node's credentials; but no pod gets the node's own role, wherever that is known from.
      const [instance, node] = [byToken.roles(), identity.rolesIfKnown()]
      // Without the node's role nobody has proved what the metadata service says. On nodes outside EC2 it could be any machine of the
      // network, and the base decides whose role gets a pod's token; a role of its own that it names is only refused to pods.
      const learned = uses('node-role') ? (instance.base ?? node?.base) : undefined
      return {
        base: settings.baseRoleArn ?? learned,
        own: [...instance.own, ...(node?.own ?? [])],
      }
    },
    /** @throws {Problem} while what it needs is not known */
    assume,
    /** The role that calls STS with the credential source `node-role`. */
    callerArn: identity.callerArn,
    /** Why a source cannot be used yet, or undefined. */
    whyUnknown: () => {
      const detail = uses('node-role') ? identity.whyUnknown() : undefined
      if (detail !== undefined) return { code: 'node-credentials-unavailable', detail }
      const regionless = uses('web-identity') ? byToken.whyUnknown() : undefined
      return regionless === undefined ? undefined : { code: 'region-unknown', detail: regionless }
    },
  }
}
