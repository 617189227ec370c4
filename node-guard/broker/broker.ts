/** The broker without what serves it: the cluster's half, AWS's half, and who decides between them. */
import type { SteadyClock } from '../../common/clock.ts'
import { whyNotUnderstood, whyUnguarded } from '../../common/firewall-state.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import { Problem } from '../../common/protocol.ts'
import { podEvents } from './audit/events.ts'
import { refusalLog } from './audit/refusal-log.ts'
import { whoIsAsking } from './authenticate/authenticate.ts'
import type { tokenVerifier } from './authenticate/verify.ts'
import { type AwsSide, awsSide } from './aws/node-identity.ts'
import type { stsClient } from './aws/sts-client.ts'
import type { Imds } from './instance/imds.ts'
import { metadata } from './instance/snapshot.ts'
import { hasEnded, podName } from './kubernetes/pod.ts'
import { type ClusterSide, clusterSide } from './kubernetes/watches.ts'
import type { BrokerRoutes } from './server/app.ts'
import { brokerRoutes } from './server/handlers.ts'
import { type Grant, type SessionsOptions, sessionKey } from './sessions/sessions.ts'
import { warmUp } from './sessions/warm-up.ts'
import { type BrokerSettings, entitlementSettings } from './settings.ts'

/** What the broker touches of the world. */
export type BrokerEdges = {
  readonly kube: Kube
  readonly imds: Imds
  readonly clock: SteadyClock
  readonly log: Logger
  /** Makes the client of STS; the AWS SDK's where absent. */
  readonly connectSts?: typeof stsClient
  /** Makes what checks tokens; by their signature where absent. */
  readonly verifier?: typeof tokenVerifier
}

/** What is counted of the decisions. */
export type CoreMetrics = {
  readonly events: { readonly inc: (labels: { readonly outcome: string }) => void }
  readonly stsCalls: { readonly inc: (labels: { readonly outcome: string }) => void }
  readonly cache: { readonly inc: (labels: { readonly outcome: string }) => void }
}

export type BrokerCore = {
  readonly routes: BrokerRoutes
  readonly aws: AwsSide
  readonly cluster: ClusterSide
  readonly stop: () => void
}

/** @param region as of `startBroker` */
export function brokerCore(
  settings: BrokerSettings,
  edges: BrokerEdges,
  metrics: CoreMetrics,
  region?: string,
): BrokerCore {
  const { clock, log } = edges
  const stopping = new AbortController()
  const { signal } = stopping
  const events = podEvents(edges, settings.nodeName, (outcome) => metrics.events.inc({ outcome }))
  const refusals = refusalLog(log, clock)
  const refused = (pod: Grant['pod'], problem: Problem) => {
    refusals.refused(pod, problem)
    events.report(pod, problem)
  }

  /** What was granted is what would be granted now, as far as the watches know. */
  const holds = (grant: Grant): boolean => {
    const pod = cluster.pods.get(grant.pod.uid)
    if (!pod || hasEnded(pod)) return false
    try {
      const { request } = who.entitlement(pod, cluster.namespaces.get(pod.namespace))
      return sessionKey({ pod, request }, 'pod') === sessionKey(grant, 'pod')
    } catch (error) {
      if (error instanceof Problem) return false
      throw error
    }
  }
  const aws = awsSide(settings, edges, {
    region,
    metrics,
    signal,
    holds,
    learned: () => {
      aws.sessions.review(() => true)
      warm.all()
    },
    issued: audit(log),
    failed: ({ pod }, problem) => refused(pod, problem),
  })
  const cluster = clusterSide(settings, edges, {
    signal,
    podGone: aws.sessions.dropPod,
    podChanged: (changed) => {
      aws.sessions.review(({ pod }) => pod.uid === changed.uid)
      warm.pod(changed)
    },
    namespaceChanged: (name) => {
      aws.sessions.review(({ pod }) => pod.namespace === name)
      warm.namespace(name)
    },
  })
  const who = whoIsAsking({
    ...cluster,
    clock,
    settings: entitlementSettings(settings),
    ownAddresses: settings.listen,
    node: aws.roles,
    whyUnguarded: () => whyUnguarded(settings.stateDir, clock.now()),
    onRefused: refused,
    onRejected: refusals.rejected,
  })
  const warm = warmUp({
    ...cluster,
    entitlement: who.entitlement,
    sessions: aws.sessions,
    roleKey: settings.roleKey,
  })
  const snapshot = metadata(
    edges.imds,
    { allowed: settings.metadataAllow, region: settings.region ?? region },
    { clock, log, signal },
  )
  // Not one of many refusals, but at the start: no pod of this node will get anything.
  if (settings.requireFirewall)
    void whyNotUnderstood(settings.stateDir).then((detail) => {
      if (detail !== undefined)
        log.error('the firewall is of another release', { code: 'node-unguarded', detail })
    })
  const routes: BrokerRoutes = {
    ...brokerRoutes(who, aws.sessions, snapshot, refused),
    rejected: ({ peer }, problem) => refusals.rejected(peer, problem),
  }
  return {
    routes,
    aws,
    cluster,
    stop: () => {
      stopping.abort()
      aws.sessions.stop()
      edges.kube.close()
      edges.imds.close()
    },
  }
}

/** One line per issuance: who got what, until when, and why. Neither keys nor the external id. */
function audit(log: Logger): SessionsOptions['on']['issued'] {
  return ({ pod, request }, { expiration }, reason) =>
    log.info('credentials issued', {
      audit: true,
      pod: podName(pod),
      uid: pod.uid,
      role: request.roleArn,
      sessionName: request.sessionName,
      expiration: new Date(expiration).toISOString(),
      reason,
    })
}
