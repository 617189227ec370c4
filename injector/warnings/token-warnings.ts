/** Warns of a token with which a pod can assume roles at STS by itself, where neither injector nor broker is asked. */
import { WEB_IDENTITY_VOLUME } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { type JsonObject, objectOf, objectsOf } from '../json.ts'

/** @param pod as it is in the request, of a namespace that is opted in */
export function tokenWarnings(
  pod: unknown,
  { credentialSources, webIdentityAudience }: InjectionSettings,
): string[] {
  if (!credentialSources.includes('web-identity')) return []
  const { volumes } = objectOf(objectOf(pod).spec)
  const own = objectsOf(volumes).find(
    (one) => one.name !== WEB_IDENTITY_VOLUME && has(one, webIdentityAudience),
  )
  return own === undefined
    ? []
    : [
        `volume ${quote(String(own.name))} has a token for ${webIdentityAudience}, with which the pod can assume every role that trusts its ` +
          'service account, whatever its namespace allows: remove the volume if the pod gets its role from pod2iam',
      ]
}

/** Whether a volume projects a token for this audience. */
function has({ projected }: JsonObject, audience: string): boolean {
  return objectsOf(objectOf(projected).sources).some(
    ({ serviceAccountToken }) => objectOf(serviceAccountToken).audience === audience,
  )
}
