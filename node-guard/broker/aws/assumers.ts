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

export type Assumers = {
  /** Discovers what each source needs to know; `onKnown` is called after each change. */
  readonly start: (onKnown: () => void) => void
  /** The base role ARN and the node's own roles, for pods of a source. @throws {Problem} while they are not known */
  readonly roles: (source: CredentialSource) => NodeRoles
  /** @throws {Problem} while what it needs is not known */
  readonly assume: Assume
  /** The role that calls STS with the credential source `node-role`. */
  readonly callerArn: () => string | undefined
  /** Why a source cannot be used yet, or undefined. */
  readonly whyUnknown: () => { readonly code: string; readonly detail: string } | undefined
}

/** Only what the sources in `--credential-sources` need is discovered: without `node-role`, the node's credentials are never requested. */
export function assumersOf(
  settings: Parameters<typeof nodeIdentity>[0] & Pick<BrokerSettings, 'credentialSources'>,
  deps: Omit<Deps, 'kube'> & {
    readonly imds: Imds
    readonly connectSts?: typeof stsClient
    readonly connectWebIdentity?: typeof webIdentityClient
  },
  onCall: (outcome: 'success' | StsFailure) => void,
): Assumers {
  const { connectSts = stsClient, connectWebIdentity: connect = webIdentityClient } = deps
  const identity = nodeIdentity(settings, { ...deps, connectSts }, onCall)
  const byToken = webIdentityAssumer(settings, { ...deps, connect }, onCall)
  const uses = (source: CredentialSource) => settings.credentialSources.includes(source)
  return {
    start: (onKnown) => {
      if (uses('node-role')) identity.start(onKnown)
      if (uses('web-identity')) byToken.start(onKnown)
    },
    roles: (source) => {
      if (source === 'node-role') return identity.roles()
      // Its pods do not wait for the node's credentials; but no pod gets the node's own role, wherever that is known from.
      const [instance, node] = [byToken.roles(), identity.rolesIfKnown()]
      return {
        base: settings.baseRoleArn ?? instance.base ?? node?.base,
        own: [...instance.own, ...(node?.own ?? [])],
      }
    },
    assume: (request, isWanted, token) =>
      (request.webIdentity ? byToken : identity).assume(request, isWanted, token),
    callerArn: identity.callerArn,
    whyUnknown: () => {
      const detail = uses('node-role') ? identity.whyUnknown() : undefined
      if (detail !== undefined) return { code: 'node-credentials-unavailable', detail }
      const regionless = uses('web-identity') ? byToken.whyUnknown() : undefined
      return regionless === undefined ? undefined : { code: 'region-unknown', detail: regionless }
    },
  }
}
