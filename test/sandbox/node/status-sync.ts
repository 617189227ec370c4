/** Reports a pod's status to the API server: the newest state, one request at a time. */
import { isApiError, type KubeClient } from '../kube/client/client.ts'
import type { PodStatus } from './pod.ts'
import { podStatus } from './pod-status.ts'
import type { PodWorker } from './pod-worker.ts'

const RETRY_MS = 200

export type StatusSync = {
  /** Something has changed. While the pod's sync is busy nothing is reported; the sync calls this at its end. */
  readonly mark: () => void
  /** Resolves when the current state has been reported, or cannot be (the pod is gone). */
  readonly flush: () => Promise<void>
  readonly last: () => PodStatus | undefined
}

/** @param reportsAddresses whether podIPs may be reported now */
export function createStatusSync(
  kube: KubeClient,
  worker: PodWorker,
  hostIPs: readonly string[],
  reportsAddresses: () => boolean,
): StatusSync {
  let last: PodStatus | undefined
  let next: PodWorker['observed'] | undefined
  let running: Promise<void> | undefined
  const { namespace, name, uid } = worker.pod.metadata

  const report = async (): Promise<void> => {
    while (next !== undefined) {
      const { podIPs, ...observed } = next
      next = undefined
      const known = reportsAddresses() && podIPs.length > 0 ? podIPs : undefined
      const now = `${new Date().toISOString().slice(0, 19)}Z`
      const status = podStatus({ ...observed, hostIPs, podIPs: known }, last?.conditions ?? [], now)
      const wasReady = isReady(last)
      last = status
      if (isReady(status) && !wasReady) worker.timeline.add('pod-ready')
      // With the uid, another pod of the same name is not changed; null removes the addresses of a former sandbox.
      const addresses = known === undefined ? { podIP: null, podIPs: null } : {}
      await patch({ metadata: { uid }, status: { ...addresses, ...status } })
    }
  }
  const patch = async (body: unknown): Promise<void> => {
    for (let attempt = 0; attempt < 5; attempt++) {
      try {
        await kube.patch('pods', name, namespace, body, { subresource: 'status' })
        return
      } catch (error) {
        if (isApiError(error, 404) || isApiError(error, 409)) return
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref())
      }
    }
  }
  const flush = (): Promise<void> => {
    running ??= report().finally(() => {
      running = undefined
      if (next !== undefined) void flush()
    })
    return running
  }
  const mark = () => {
    if (worker.syncing) return
    next = worker.observed
    void flush()
  }
  return { mark, flush, last: () => last }
}

function isReady(status: PodStatus | undefined): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true
}
