/** The broker, put together: the cluster's half, AWS's half, who decides between them, and what serves. */
import type { AddressInfo } from 'node:net'
import type { Clock } from '../../common/clock.ts'
import { whyUnguarded } from '../../common/firewall-state.ts'
import { healthServer, type Readiness } from '../../common/health.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import { Problem } from '../../common/protocol.ts'
import { awsSide } from './aws-side.ts'
import { hasEnded, podName } from './cluster/pod.ts'
import { clusterSide } from './cluster-side.ts'
import { podEvents } from './events.ts'
import { brokerApp, type OnAnswer } from './http/app.ts'
import { listenAll } from './http/listen.ts'
import { brokerServer } from './http/server.ts'
import { brokerMetrics } from './metrics.ts'
import type { Imds } from './node/imds.ts'
import { newsSeconds } from './node/metadata.ts'
import { metadata } from './node/node.ts'
import { refusalLog } from './refusal-log.ts'
import { brokerRoutes } from './routes.ts'
import { type BrokerSettings, entitlementSettings } from './settings.ts'
import { type Grant, type SessionsOptions, sessionKey } from './sts/sessions.ts'
import { warmUp } from './warm-up.ts'
import { whoIsAsking } from './who.ts'

/** What the broker touches of the world. */
export type BrokerEdges = {
  readonly kube: Kube
  readonly imds: Imds
  readonly clock: Clock
  readonly log: Logger
}

export type Broker = {
  readonly readiness: () => Readiness
  /** Where it listens now. */
  readonly addresses: () => readonly AddressInfo[]
  readonly healthAddress: () => AddressInfo | undefined
  readonly stop: () => void
}

/** @param region from the environment; a setting wins over it, the metadata service comes last */
export function startBroker(settings: BrokerSettings, edges: BrokerEdges, region?: string): Broker {
  const { clock, log } = edges
  const stopping = new AbortController()
  const { signal } = stopping
  const metrics = brokerMetrics()
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
  const routes = brokerRoutes(who, aws.sessions, snapshot, refused)
  const counted: OnAnswer = (path, code, seconds) => {
    metrics.requests.inc({ path, code })
    if (path === 'credentials') metrics.requestSeconds.observe(seconds)
  }
  const app = brokerApp(routes, log, counted, newsSeconds(settings.metadataAllow))
  const listeners = listenAll(settings.listen, settings.port, () => brokerServer(app), { clock, log })

  const readiness = (): Readiness => {
    const waiting = cluster.whyNotReady()
    if (waiting) return { ready: false, ...waiting }
    const detail = aws.whyNotReady()
    if (detail) return { ready: false, code: 'node-credentials-unavailable', detail }
    if (listeners.bound().length === 0)
      return { ready: false, code: 'not-listening', detail: 'no address of --listen exists on this node yet' }
    return { ready: true, code: 'ready' }
  }
  metrics.observe({
    pods: cluster.pods.size,
    sessions: aws.sessions.size,
    soonestExpiry: aws.sessions.soonestExpiry,
    waitingForSts: aws.waitingForSts,
    watchAges: cluster.watchAges,
    leftOut: cluster.leftOut,
    listeners: () => listeners.bound().length,
  })
  const health = healthServer({ readiness, metrics: () => metrics.registry.metrics() })
  health.listen(settings.healthPort)

  return {
    readiness,
    addresses: listeners.bound,
    healthAddress: () => {
      const address = health.address()
      return typeof address === 'object' && address !== null ? address : undefined
    },
    stop: () => {
      stopping.abort()
      listeners.stop()
      aws.sessions.stop()
      health.close()
      health.closeAllConnections()
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
