/** The broker: its decisions (`core.ts`), and what serves them. */
import type { AddressInfo } from 'node:net'
import { healthServer, type Readiness } from '../../common/health.ts'
import { type BrokerEdges, brokerCore } from './core.ts'
import { newsSeconds } from './instance/metadata.ts'
import { brokerMetrics } from './metrics.ts'
import { brokerApp, type OnAnswer } from './server/app.ts'
import { brokerServer } from './server/connections.ts'
import { listenAll } from './server/listen.ts'
import type { BrokerSettings } from './settings.ts'

export type { BrokerEdges } from './core.ts'

export type Broker = {
  readonly readiness: () => Readiness
  /** Where it listens now. */
  readonly addresses: () => readonly AddressInfo[]
  readonly healthAddress: () => AddressInfo | undefined
  /** Answers what was asked, for {@link ANSWERING_MS} at most, and ends. */
  readonly stop: () => Promise<void>
}

/** @param region from the environment; a setting wins over it, the metadata service comes last */
export function startBroker(settings: BrokerSettings, edges: BrokerEdges, region?: string): Broker {
  const { clock, log } = edges
  const metrics = brokerMetrics()
  const core = brokerCore(settings, edges, metrics, region)
  const { aws, cluster } = core
  const counted: OnAnswer = (path, code, seconds) => {
    metrics.requests.inc({ path, code })
    if (path === 'credentials') metrics.requestSeconds.observe(seconds)
  }
  const app = brokerApp(core.routes, log, counted, newsSeconds(settings.metadataAllow))
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
  metrics.restricts(settings)
  metrics.observe({
    pods: cluster.pods.size,
    sessions: aws.sessions.size,
    soonestExpiry: aws.sessions.soonestExpiry,
    overdue: aws.sessions.overdue,
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
    stop: async () => {
      // What is under way is judged by what the watches know.
      await listeners.stop()
      core.stop()
      health.close()
      health.closeAllConnections()
    },
  }
}
