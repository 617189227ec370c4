/** What the injector watches besides its reviews: pods that opted in, and nodes that wait for their guard. */
import { systemClock } from '../common/clock.ts'
import type { Kube } from '../common/kube/client.ts'
import type { Logger } from '../common/log.ts'
import type { InjectorMetrics } from './metrics.ts'
import type { InjectorSettings } from './settings.ts'
import { removeStartupTaint } from './startup-taint/remove.ts'
import { gateCode } from './watch/gate-code.ts'
import { podEvents } from './watch/pod-events.ts'
import { watchPods } from './watch/watch.ts'

/**
 * Starts them; no review depends on any.
 *
 * @param instance this replica's name, for Events
 * @returns stops them
 */
export function startWatches(
  settings: InjectorSettings,
  by: { readonly kube: Kube; readonly log: Logger; readonly metrics: InjectorMetrics },
  instance: string,
): () => void {
  const { kube, log, metrics } = by
  const stopping = new AbortController()
  const edges = { kube, log, clock: systemClock, signal: stopping.signal }
  const events = podEvents(edges, instance, metrics.event)
  const untouched = new Set(settings.untouchedNamespaces)
  metrics.podWatch(watchPods(edges, settings.roleKey, events, gateCode, untouched))
  const { startupTaint: key, nodeGuardNamespace: namespace, nodeGuardSelector: selector } = settings
  if (key !== undefined) metrics.startupTaint(removeStartupTaint(edges, key, { namespace, selector }))
  return () => {
    stopping.abort()
    kube.close()
  }
}
