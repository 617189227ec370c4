/** The AWS half of the broker: whose credentials it has, and the sessions it makes with them. */
import { Problem } from '../../../common/protocol.ts'
import { parseRoleArn } from '../../../common/role.ts'
import type { NodeRoles, RoleIdentity } from '../authorize/entitle.ts'
import { sharedSessionName } from '../authorize/session-name.ts'
import type { BrokerEdges, CoreMetrics } from '../broker.ts'
import { stsQueue } from '../sessions/queue.ts'
import { type Sessions, type SessionsOptions, sessionStore } from '../sessions/sessions.ts'
import type { BrokerSettings } from '../settings.ts'
import { type Assume, assumer } from './assume.ts'
import { stsProblem } from './explain.ts'
import { followCaller } from './follow-caller.ts'
import { hopCredentials } from './hop.ts'
import { type AwsNode, learnNode } from './learn-node.ts'
import { type Sts, stsClient } from './sts-client.ts'

export type AwsSide = {
  readonly sessions: Sessions
  /** @throws {Problem} `node-credentials-unavailable` while the node's identity is not known */
  readonly roles: () => NodeRoles
  /** Why it cannot issue yet, or undefined. */
  readonly whyNotReady: () => string | undefined
  readonly waitingForSts: () => number
}

/** @param judge whether grants still hold, and who is told of what happens */
export function awsSide(
  settings: BrokerSettings,
  { imds, clock, log, connectSts = stsClient }: BrokerEdges,
  by: {
    readonly region: string | undefined
    readonly metrics: CoreMetrics
    readonly signal: AbortSignal
    readonly holds: SessionsOptions['holds']
    /** The node’s identity is known, or another, from now on. */
    readonly learned: () => void
    readonly issued: SessionsOptions['on']['issued']
    readonly failed: SessionsOptions['on']['failed']
  },
): AwsSide {
  const { metrics, signal } = by
  let node: AwsNode | undefined
  let assume: Assume | undefined
  let callerArn: string | undefined
  let why = 'the node’s AWS identity is not known yet'

  const connect = (region: string) => connectSts(region, settings.stsConcurrency)
  const learn = async () => {
    const learned = await learnNode(
      settings.region ?? by.region,
      imds,
      connect,
      { clock, log, signal },
      (detail) => {
        why = `the node’s AWS identity is not known: ${detail}`
      },
    )
    if (!learned) return
    const sts = throughHop(learned.sts, learned.region)
    const adopt = (known: AwsNode) => {
      callerArn = settings.assumeRoleArn ?? known.caller.arn
      node = known
      log.info('node identity known', { caller: known.caller.arn, region: known.region })
      by.learned()
    }
    const follow = followCaller(learned, imds, { clock, log, signal }, adopt)
    const call = assumer(sts, (outcome) => metrics.stsCalls.inc({ outcome }), follow, clock)
    assume = async (request, isWanted) => {
      const session = await call(request, isWanted)
      // On its way the call may have fetched the node's credentials anew.
      await follow()
      return session
    }
    adopt(learned)
  }
  const throughHop = (sts: Sts, region: string): Sts => {
    const { assumeRoleArn, nodeName, stsConcurrency } = settings
    if (assumeRoleArn === undefined) return sts
    return connectSts(region, stsConcurrency, hopCredentials(sts, assumeRoleArn, sharedSessionName(nodeName)))
  }
  void learn()

  const notReady = () => new Problem('node-credentials-unavailable', `${why}; retry`, { retryAfter: 2 })
  const queue = stsQueue({ perSecond: settings.stsQps, concurrency: settings.stsConcurrency }, clock)
  const sessions = sessionStore({
    scope: settings.sessionScope,
    assume: (request, isWanted) => (assume ? assume(request, isWanted) : Promise.reject(notReady())),
    queue,
    clock,
    holds: by.holds,
    explain: (failure, thrown, context) => stsProblem(failure, thrown, { ...context, callerArn }),
    on: { issued: by.issued, failed: by.failed, cache: (outcome) => metrics.cache.inc({ outcome }) },
  })
  const hop = settings.assumeRoleArn === undefined ? [] : [roleIdentity(settings.assumeRoleArn)]
  return {
    sessions,
    waitingForSts: queue.waiting,
    whyNotReady: () => (node ? undefined : why),
    roles: () => {
      if (!node) throw notReady()
      return { base: settings.baseRoleArn ?? node.caller.base, own: [node.caller.role, ...hop] }
    },
  }
}

function roleIdentity(arn: string): RoleIdentity {
  const result = parseRoleArn(arn)
  if (!result.ok) throw new Error(result.detail)
  const { account, pathName } = result.role
  return { account, name: pathName.slice(pathName.lastIndexOf('/') + 1) }
}
