/** The broker as a process serves it: its listeners, its health and its metrics. */
import { whyUnreadable } from '../../common/firewall-state.ts'
import { healthServer, type Readiness, serveHealth } from '../../common/health.ts'
import { type BrokerDeps, createBroker } from './broker.ts'
import { refreshSeconds } from './instance/metadata.ts'
import { brokerMetrics } from './metrics.ts'
import { brokerApp, type OnAnswer } from './server/app.ts'
import { brokerServer } from './server/http-server.ts'
import { listenAll, PORT_TAKEN, whyTaken } from './server/listen.ts'
import type { BrokerSettings } from './settings.ts'

export type RunningBroker = ReturnType<typeof startBroker>

/** @param environmentRegion as of `createBroker` */
export function startBroker(settings: BrokerSettings, deps: BrokerDeps, environmentRegion?: string) {
  const { clock, log } = deps
  const metrics = brokerMetrics()
  const broker = createBroker(settings, deps, metrics, environmentRegion)
  const onAnswer: OnAnswer = (path, code, seconds) => {
    metrics.requests.inc({ path, code })
    if (path === 'credentials') metrics.requestSeconds.observe(seconds)
  }
  const app = brokerApp(broker.handlers, log, onAnswer, refreshSeconds(settings.metadataAllow), clock)
  const listeners = listenAll(settings.listen, settings.port, () => brokerServer(app), { clock, log })
  metrics.restricts(settings)
  metrics.observe({ ...broker.observed, listeners: () => listeners.bound().length })

  const readiness = (): Readiness => {
    const waiting = broker.whyNotReady()
    if (waiting) return { ready: false, ...waiting }
    const taken = listeners.taken()
    if (taken.length > 0) return { ready: false, code: PORT_TAKEN, detail: whyTaken(taken) }
    if (listeners.bound().length === 0)
      return { ready: false, code: 'not-listening', detail: 'no address of --listen exists on this node yet' }
    return { ready: true, code: 'ready' }
  }
  const health = healthServer({ readiness, metrics: () => metrics.registry.metrics() })
  const stopHealth = serveHealth(health, settings.healthPort, log)
  // Once at the start, not with each refusal: no pod of this node will get anything.
  if (settings.requireFirewall)
    void whyUnreadable(settings.stateDir).then((detail) => {
      if (detail !== undefined)
        log.error('the firewall is of another release', { code: 'node-unguarded', detail })
    })

  return {
    readiness,
    /** Where it listens now. */
    addresses: listeners.bound,
    healthAddress: () => {
      const address = health.address()
      return typeof address === 'object' && address !== null ? address : undefined
    },
    /** Answers the requests that have arrived, within `ANSWERING_MS`, and ends. */
    stop: async () => {
      // The watches continue until the requests in progress are answered, because decisions depend on them.
      await listeners.stop()
      broker.stop()
      stopHealth()
      health.closeAllConnections()
    },
  }
}
