/** Whose AWS credentials the broker has, and the calls of STS it makes with them. */
import type { Deps } from '../../../common/deps.ts'
import { Problem } from '../../../common/protocol.ts'
import { parseRoleArn } from '../../../common/role.ts'
import type { NodeRoles, RoleIdentity } from '../authorize/entitle.ts'
import { sharedSessionName } from '../authorize/session-name.ts'
import type { Imds } from '../instance/imds.ts'
import type { BrokerSettings } from '../settings.ts'
import { type Assume, assumer } from './assume.ts'
import type { StsFailure } from './classify.ts'
import { followCaller } from './follow-caller.ts'
import { hopCredentials } from './hop.ts'
import { type AwsNode, learnNode } from './learn-node.ts'
import type { stsClient } from './sts-client.ts'

export type NodeIdentity = {
  /** Learns it, for as long as that takes, and follows its changes; `onKnown` is called after each. */
  readonly start: (onKnown: () => void) => void
  /** @throws {Problem} `node-credentials-unavailable` while it is not known */
  readonly roles: () => NodeRoles
  /** The same, or undefined while it is not known. */
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
  const learn = () =>
    learnNode(
      settings.region,
      imds,
      (region) => connectSts(region, stsConcurrency),
      deps,
      (detail) => {
        why = `the node’s AWS identity is not known: ${detail}`
      },
    )
  const keepKnown = async (onKnown: () => void) => {
    const learned = await learn()
    if (!learned) return
    const adopt = (known: AwsNode) => {
      node = known
      log.info('node identity known', { caller: known.caller.arn, region: known.region })
      onKnown()
    }
    const follow = followCaller(learned, imds, deps, adopt)
    const call = assumer(throughHop(learned), onCall, follow, clock)
    assume = async (request, isWanted) => {
      const session = await call(request, isWanted)
      // The call may have fetched new credentials of the node.
      await follow()
      return session
    }
    adopt(learned)
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
