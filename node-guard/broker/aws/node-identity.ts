/** Whose AWS credentials the broker has, and the calls of STS it makes with them. */
import type { Deps } from '../../../common/deps.ts'
import { Problem } from '../../../common/protocol.ts'
import { parseRoleArn } from '../../../common/role.ts'
import type { NodeRoles, RoleIdentity } from '../authorize/entitlement.ts'
import { sharedSessionName } from '../authorize/session-name.ts'
import type { Imds } from '../instance/imds.ts'
import type { BrokerSettings } from '../settings.ts'
import { type Assume, assumer } from './assume.ts'
import type { StsFailure } from './classify.ts'
import { type AwsNode, discoverNode } from './discover-node.ts'
import { followCaller } from './follow-caller.ts'
import { hopCredentials } from './hop.ts'
import type { stsClient } from './sts-client.ts'

export type NodeIdentity = {
  /** Tries to discover it until that succeeds, and then follows its changes; `onKnown` is called after each. */
  readonly start: (onKnown: () => void) => void
  /** @throws {Problem} `node-credentials-unavailable` while it is not known */
  readonly roles: () => NodeRoles
  /** As `roles`, but undefined while it is not known. */
  readonly rolesIfKnown: () => NodeRoles | undefined
  /** The role that calls STS: the node's, or the stable hop's. */
  readonly callerArn: () => string | undefined
  /** @throws {Problem} `node-credentials-unavailable` while it is not known */
  readonly assume: Assume
  /** Why it is not known yet, or undefined. */
  readonly whyUnknown: () => string | undefined
}

export function nodeIdentity(
  settings: Pick<BrokerSettings, 'region' | 'baseRoleArn' | 'assumeRoleArn' | 'nodeName' | 'stsConcurrency'>,
  deps: Omit<Deps, 'kube'> & { readonly imds: Imds; readonly connectSts: typeof stsClient },
  onCall: (outcome: 'success' | StsFailure) => void,
): NodeIdentity {
  const { imds, clock, log, connectSts } = deps
  const { assumeRoleArn, nodeName, stsConcurrency } = settings
  const hop = assumeRoleArn === undefined ? [] : [roleIdentity(assumeRoleArn)]
  let node: AwsNode | undefined
  let assume: Assume | undefined
  let why = 'the node’s AWS identity is not known yet'

  const unknown = () => new Problem('node-credentials-unavailable', `${why}; retry`, { retryAfter: 2 })
  const rolesIfKnown = () =>
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
  return {
    start: (onKnown) => void keepKnown(onKnown),
    roles: () => rolesIfKnown() ?? fail(unknown()),
    rolesIfKnown,
    callerArn: () => node && (assumeRoleArn ?? node.caller.arn),
    assume: async (request, isWanted) => {
      if (!assume) throw unknown()
      return assume(request, isWanted)
    },
    whyUnknown: () => (node ? undefined : why),
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
