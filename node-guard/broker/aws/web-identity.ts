/** Assumes roles by web identity: with a token of the pod, without credentials of the node. Also discovers what can be known about the node without credentials. */
import { backoff } from '../../../common/backoff.ts'
import { pause } from '../../../common/clock.ts'
import type { Deps } from '../../../common/deps.ts'
import { Problem } from '../../../common/protocol.ts'
import type { NodeRoles } from '../authorize/entitlement.ts'
import type { Imds } from '../instance/imds.ts'
import { type Assume, toNodeClock, withdrawn } from './assume.ts'
import { instanceIdentity } from './caller-identity.ts'
import { classifyWebIdentityError, type StsFailure } from './classify.ts'
import type { WebIdentitySts, webIdentityClient } from './sts-client.ts'

const LOOK_MS = 5 * 60_000
/** While nothing can be served without an answer. */
const RETRY_CAP_MS = 30_000

/**
 * Needs only the Region: from the settings or the environment, else from the metadata service. Where there is no such service, as on hybrid
 * nodes, the settings must name it, and role names that are not ARNs need `--base-role-arn`.
 */
export function webIdentityAssumer(
  settings: { readonly region: string | undefined; readonly stsConcurrency: number },
  deps: Omit<Deps, 'kube'> & { readonly imds: Imds; readonly connect: typeof webIdentityClient },
  onCall: (outcome: 'success' | StsFailure) => void,
) {
  const { imds, clock, log, signal, connect } = deps
  let sts: WebIdentitySts | undefined
  let roles: NodeRoles = { base: undefined, own: [] }

  const look = async () => {
    const region =
      settings.region ?? (await imds.get('meta-data/placement/region').catch(() => undefined))?.trim()
    if (!region) return false
    const instance = await instanceIdentity(imds).catch(() => undefined)
    const hasChanged = sts === undefined || (instance !== undefined && instance.base !== roles.base)
    if (instance) roles = { base: instance.base, own: [instance.role] }
    if (sts === undefined) log.info('roles can be assumed by web identity', { region })
    sts ??= connect(region, settings.stsConcurrency)
    return hasChanged
  }
  const run = async (onKnown: () => void) => {
    for (let failures = 1; !signal.aborted; failures++) {
      if (await look()) onKnown()
      if (roles.own.length > 0) failures = 0
      const cap = sts ? LOOK_MS : RETRY_CAP_MS
      await pause(clock, failures === 0 ? LOOK_MS : backoff(failures, { base: 500, cap }), signal)
    }
  }
  const why =
    'the Region is not known yet: it is that of --region or AWS_REGION, else of the metadata service'
  const assume: Assume = async (request, isWanted = () => true, webIdentity) => {
    if (!sts) throw new Problem('sts-unavailable', `${why}; retry`, { retryAfter: 2 })
    if (!webIdentity) throw new Error('a role is to be assumed by web identity without a token')
    if (!isWanted()) throw withdrawn()
    try {
      const session = await sts.assumeRole(request, webIdentity.token)
      onCall('success')
      return toNodeClock(session, clock.now())
    } catch (error) {
      onCall(classifyWebIdentityError(error))
      throw error
    }
  }
  return {
    /** Tries to discover the Region until that succeeds; `onKnown` is called after each change. */
    start: (onKnown: () => void) => void run(onKnown),
    /**
     * The base role ARN and the instance's own role, as far as the metadata service reveals them; empty without a metadata service.
     *
     * @throws {Problem} `busy` while the Region is not known
     */
    roles: () => {
      if (!sts) throw new Problem('busy', `${why}; retry`, { retryAfter: 2 })
      return roles
    },
    /** @throws {Problem} `sts-unavailable` while the Region is not known */
    assume,
    /** Why it cannot be used yet, or undefined. */
    whyUnknown: () => (sts ? undefined : why),
  }
}
