/** What the injector watches beside its reviews: its other replicas, pods of opted-in namespaces, and nodes that wait for their guard. */
import { systemClock } from '../common/clock.ts'
import type { Kube } from '../common/kube/client.ts'
import type { Logger } from '../common/log.ts'
import type { InjectionSettings } from './injection-settings.ts'
import type { InjectorMetrics } from './metrics.ts'
import { noPeers, watchPeers } from './peers/peers.ts'
import { podEvents } from './pod-watch/pod-events.ts'
import { watchPods } from './pod-watch/pod-watch.ts'
import { readyzCode } from './pod-watch/readyz-code.ts'
import type { InjectorSettings } from './settings.ts'
import { removeStartupTaint } from './startup-taint/remove.ts'

/**
 * Starts the watches.
 *
 * @param own this replica's own settings
 * @param instance this replica's name, for Events
 */
export function startWatches(
  settings: InjectorSettings,
  own: InjectionSettings,
  deps: { readonly kube: Kube; readonly log: Logger; readonly metrics: InjectorMetrics },
  instance: string,
) {
  const { kube, log, metrics } = deps
  const stopping = new AbortController()
  const watchDeps = { kube, log, clock: systemClock, signal: stopping.signal }
  const { podName, podNamespace, podSelector } = settings
  const peers =
    podName !== undefined && podNamespace !== undefined && podSelector !== undefined
      ? watchPeers(own, { namespace: podNamespace, selector: podSelector, name: podName }, watchDeps)
      : noPeers(own)
  metrics.peers(peers.counts)
  const events = podEvents(watchDeps, instance, metrics.event)
  const untouched = new Set(settings.untouchedNamespaces)
  metrics.podWatch(watchPods(watchDeps, settings.roleKey, events, readyzCode, untouched))
  const { startupTaint: key, nodeGuardNamespace: namespace, nodeGuardSelector: selector } = settings
  if (key !== undefined) metrics.startupTaint(removeStartupTaint(watchDeps, key, { namespace, selector }))
  return {
    /** The only watch that reviews depend on. */
    peers,
    stop() {
      stopping.abort()
      kube.close()
    },
  }
}
