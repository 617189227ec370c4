/** Reports to the firewall which pods of this node are on the host network, and which of them may use the node's role. */
import type { V1Namespace } from '@kubernetes/client-node'
import { backoff } from '../../../common/backoff.ts'
import type { Clock } from '../../../common/clock.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import { globMatches } from '../../../common/glob.ts'
import { type HostPod, writeHostPods } from '../../../common/host-pods.ts'
import { HOST_NETWORK_ALLOWED, KEYS } from '../../../common/keys.ts'
import { reflect, type Sink } from '../../../common/kube/reflector.ts'
import type { Logger } from '../../../common/log.ts'
import type { BrokerSettings } from '../settings.ts'
import { hasEnded, type PodRecord, podName } from './pod.ts'
import type { Pods } from './pods.ts'

type HostPodsDeps = Deps & {
  readonly pods: Pods
  /** Whether the first list of pods has arrived. */
  readonly podsSynced: () => boolean
}

/** Milliseconds between checks until the lists have arrived. */
const SYNC_MS = 500
/** After failures to write. */
const RETRY = { base: 500, cap: 10_000 }

type Outcome = 'done' | 'failed' | 'not yet'

/** Writes the list whenever it changes, if there is a directory for it, until `signal` aborts; not before both lists have arrived. */
export function writeHostPodsOnChange(
  { hostPodsDir: directory, hostNetworkAllowed: allowed }: BrokerSettings,
  deps: HostPodsDeps,
): void {
  if (directory === undefined) return
  const { pods, podsSynced, clock, log, signal } = deps
  const namespaces = nameStore()
  const write = listWriter(directory, log)
  const changed = retried(clock, async () => {
    if (signal.aborted) return 'done'
    if (!namespaces.synced() || !podsSynced()) return 'not yet'
    return (await write(hostPods(pods.all(), namespaces.names, allowed))) ? 'done' : 'failed'
  })
  pods.subscribe({ gone: changed, changed })
  namespaces.subscribe(changed)
  const query = { labelSelector: `${KEYS.hostNetwork}=${HOST_NETWORK_ALLOWED}` }
  reflect({ path: '/api/v1/namespaces', query, sink: namespaces.sink, cached: true }, deps)
}

/** Writes a list where it is another than before; returns whether it is written. */
function listWriter(directory: string, log: Logger): (list: readonly HostPod[]) => Promise<boolean> {
  let written: string | undefined
  return async (list) => {
    const text = JSON.stringify(list)
    if (text === written) return true
    try {
      await writeHostPods(directory, list)
      written = text
      return true
    } catch (error) {
      const detail = `the list of pods on the host network cannot be written to ${directory} (${messageOf(error)}): mount a writable directory there, shared with the container host-network`
      log.error('host pods not written', { detail })
      return false
    }
  }
}

/**
 * Does something whenever the returned function is called, once at a time, and again later where it was not successful. Until then, calls
 * cause no attempts: while the directory is not writable, tenants could multiply them.
 */
function retried(clock: Clock, attempt: () => Promise<Outcome>): () => void {
  let failures = 0
  let isWaiting = false
  let isBusy = false
  let again = false
  async function run() {
    isBusy = true
    while (again && !isWaiting) {
      again = false
      const outcome = await attempt()
      failures = outcome === 'failed' ? failures + 1 : 0
      if (outcome !== 'done') wait(outcome === 'failed' ? backoff(failures, RETRY) : SYNC_MS)
    }
    isBusy = false
  }
  function wait(milliseconds: number) {
    isWaiting = true
    clock.after(milliseconds, () => {
      isWaiting = false
      trigger()
    })
  }
  function trigger() {
    again = true
    if (!isBusy && !isWaiting) void run()
  }
  return trigger
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

/** The names of the namespaces whose pods may use the node's role. */
function nameStore() {
  const listeners: (() => void)[] = []
  const names = new Set<string>()
  let isSynced = false
  const changed = () => {
    for (const onChange of listeners) onChange()
  }
  const sink: Sink<string> = {
    project: (object) => (object as V1Namespace | undefined)?.metadata?.name,
    replace: (all) => {
      names.clear()
      for (const name of all) names.add(name)
      isSynced = true
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
  return {
    sink,
    names,
    /** Whether the first list has arrived. */
    synced: () => isSynced,
    subscribe: (onChange: () => void) => void listeners.push(onChange),
  }
}
