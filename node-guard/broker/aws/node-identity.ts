/** Whose AWS credentials the broker has, and the calls of STS it makes with them. */
import type { Deps } from '../../../common/deps.ts'
import { Problem } from '../../../common/protocol.ts'
import { parseRoleArn } from '../../../common/role.ts'
import type { NodeRoles, RoleIdentity } from '../authorize/entitlement.ts'
import { sharedSessionName } from '../authorize/session-name.ts'
import type { Imds } from '../instance/imds.ts'
import type { BrokerSettings } from '../settings.ts'
import { type Assume, assumer } from './assume.ts'
import { awsMessage, type StsFailure } from './classify.ts'
import { type AwsNode, discoverNode } from './discover-node.ts'
import { followCaller } from './follow-caller.ts'
import type { Sts, stsClient } from './sts-client.ts'

const HOP_SECONDS = 3600

export function nodeIdentity(
  settings: Pick<BrokerSettings, 'region' | 'baseRoleArn' | 'assumeRoleArn' | 'nodeName' | 'stsConcurrency'>,
  deps: Omit<Deps, 'kube'> & { readonly imds: Imds; readonly connectSts: typeof stsClient },
  onCall: (outcome: 'success' | StsFailure) => void,
) {
  const { imds, clock, log, connectSts } = deps
  const { assumeRoleArn, nodeName, stsConcurrency } = settings
  const hop = assumeRoleArn === undefined ? [] : [roleIdentity(assumeRoleArn)]
  let node: AwsNode | undefined
  let assume: Assume | undefined
  let why = 'the node’s AWS identity is not known yet'

  const unknown = () => new Problem('node-credentials-unavailable', `${why}; retry`, { retryAfter: 2 })
  const rolesIfKnown = (): NodeRoles | undefined =>
    node && { base: settings.baseRoleArn ?? node.caller.base, own: [node.caller.role, ...hop] }
  const throughHop = ({ sts, region }: AwsNode) =>
    assumeRoleArn === undefined
      ? sts
      : connectSts(region, stsConcurrency, hopCredentials(sts, assumeRoleArn, sharedSessionName(nodeName)))
  const discover = () =>
    discoverNode(
      settings.region,
      imds,
      (region) => connectSts(region, stsConcurrency),
      deps,
      (detail) => {
        why = `the node’s AWS identity is not known: ${detail}`
      },
    )
  const keepKnown = async (onKnown: () => void) => {
    const discovered = await discover()
    if (!discovered) return
    const adopt = (known: AwsNode) => {
      node = known
      log.info('node identity known', { caller: known.caller.arn, region: known.region })
      onKnown()
    }
    const follow = followCaller(discovered, imds, deps, adopt)
    const call = assumer(throughHop(discovered), onCall, follow, clock)
    assume = async (request, isWanted) => {
      const session = await call(request, isWanted)
      // The call may have fetched new credentials of the node.
      await follow()
      return session
    }
    adopt(discovered)
  }
  const assumeIfKnown: Assume = async (request, isWanted) => {
    if (!assume) throw unknown()
    return assume(request, isWanted)
  }
  return {
    /** Tries to discover it until that succeeds, and then follows its changes; `onKnown` is called after each. */
    start: (onKnown: () => void) => void keepKnown(onKnown),
    /** @throws {Problem} `node-credentials-unavailable` while it is not known */
    roles: () => rolesIfKnown() ?? fail(unknown()),
    /** As `roles`, but undefined while it is not known. */
    rolesIfKnown,
    /** The role that calls STS: the node's, or the stable hop's. */
    callerArn: () => node && (assumeRoleArn ?? node.caller.arn),
    /** @throws {Problem} `node-credentials-unavailable` while it is not known */
    assume: assumeIfKnown,
    /** Why it is not known yet, or undefined. */
    whyUnknown: () => (node ? undefined : why),
  }
}

/**
 * Credentials of the stable hop (`--assume-role-arn`, kiam's name for it): one role that the node role assumes first, so that
 * pod roles trust one ARN although node roles change. For {@link stsClient}, which fetches them again in time.
 *
 * @param node STS with the node's own credentials
 */
function hopCredentials(node: Sts, roleArn: string, sessionName: string) {
  return async () => {
    try {
      const session = await node.assumeRole({
        roleArn,
        sessionName,
        externalId: undefined,
        tags: [],
        sourceIdentity: undefined,
        policyArns: [],
        durationSeconds: HOP_SECONDS,
      })
      const { accessKeyId, secretAccessKey, sessionToken, expiration } = session
      return { accessKeyId, secretAccessKey, sessionToken, expiration: new Date(expiration) }
    } catch (error) {
      // Under the SDK's own name for it, so that it is not taken for a refusal of the pod's role.
      const message = `--assume-role-arn ${roleArn} could not be assumed: ${awsMessage(error, undefined)}`
      throw Object.assign(new Error(message, { cause: error }), { name: 'CredentialsProviderError' })
    }
  }
}

function fail(problem: Problem): never {
  throw problem
}

function roleIdentity(arn: string): RoleIdentity {
  const result = parseRoleArn(arn)
  if (!result.ok) throw new Error(result.detail)
  const { account, pathName } = result.role
  return { account, name: pathName.slice(pathName.lastIndexOf('/') + 1) }
}
