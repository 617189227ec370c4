/** Reports to the firewall which pods of this node are on the host network, and which of them may use the node's role. */
import type { V1Namespace } from '@kubernetes/client-node'
import { backoff } from '../../../common/backoff.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import { globMatches } from '../../../common/glob.ts'
import { type HostPod, writeHostPods } from '../../../common/host-pods.ts'
import { HOST_NETWORK_ALLOWED, KEYS } from '../../../common/keys.ts'
import { reflect, type Sink } from '../../../common/kube/reflector.ts'
import type { BrokerSettings } from '../settings.ts'
import { hasEnded, type PodRecord, podName } from './pod.ts'
import type { Pods } from './pods.ts'

type HostPodsOptions = {
  readonly pods: Pods
  /** Whether the first list of pods has arrived. */
  readonly podsSynced: () => boolean
  readonly settings: Pick<BrokerSettings, 'hostPodsDir' | 'hostNetworkAllowed'>
}

/** Milliseconds between checks until the lists have arrived. */
const SYNC_MS = 500
/** After failures to write. */
const RETRY = { base: 500, cap: 10_000 }

/** Writes the list whenever it changes, if there is a directory for it, until `signal` aborts; not before both lists have arrived. */
export function writeHostPodsOnChange({ pods, podsSynced, settings }: HostPodsOptions, deps: Deps): void {
  const { hostPodsDir: directory, hostNetworkAllowed: allowed } = settings
  if (directory === undefined) return
  const { clock, log, signal } = deps
  const namespaces = new Set<string>()
  const watched = reflect(
    {
      path: '/api/v1/namespaces',
      query: { labelSelector: `${KEYS.hostNetwork}=${HOST_NETWORK_ALLOWED}` },
      sink: namesSink(namespaces, () => changed()),
      cached: true,
    },
    deps,
  )
  let written: string | undefined
  let failures = 0
  let isBusy = false
  let again = false
  let isWaiting = false

  const write = async () => {
    if (signal.aborted) return
    if (!watched.synced() || !podsSynced()) return later(SYNC_MS)
    const list = hostPods(pods.all(), namespaces, allowed)
    const text = JSON.stringify(list)
    if (text === written) return
    try {
      await writeHostPods(directory, list)
      written = text
      failures = 0
    } catch (error) {
      const detail = `the list of pods on the host network cannot be written to ${directory} (${messageOf(error)}): mount a writable directory there, shared with the container host-network`
      log.error('host pods not written', { detail })
      later(backoff(++failures, RETRY))
    }
  }
  /** Until then, changes do not cause attempts: while the directory is not writable, tenants could multiply them. */
  const later = (ms: number) => {
    isWaiting = true
    clock.after(ms, () => {
      isWaiting = false
      changed()
    })
  }
  const writeAll = async () => {
    isBusy = true
    while (again && !isWaiting) {
      again = false
      await write()
    }
    isBusy = false
  }
  const changed = () => {
    again = true
    if (!isBusy && !isWaiting) void writeAll()
  }
  pods.subscribe({ gone: changed, changed })
  changed()
}

/** The list, in a stable order. */
export function hostPods(
  pods: Iterable<PodRecord>,
  namespaces: ReadonlySet<string>,
  allowed: readonly string[],
): HostPod[] {
  return [...pods]
    .filter((pod) => pod.hostNetwork && !hasEnded(pod))
    .map((pod) => ({
      ...{ uid: pod.cgroupUid, namespace: pod.namespace, name: pod.name },
      allowed: namespaces.has(pod.namespace) || allowed.some((glob) => globMatches(glob, podName(pod))),
    }))
    .sort((a, b) => a.uid.localeCompare(b.uid))
}

function namesSink(names: Set<string>, changed: () => void): Sink<string> {
  return {
    project: (object) => (object as V1Namespace | undefined)?.metadata?.name,
    replace: (all) => {
      names.clear()
      for (const name of all) names.add(name)
      changed()
    },
    upsert: (name) => {
      names.add(name)
      changed()
    },
    remove: (name) => {
      names.delete(name)
      changed()
    },
  }
}
