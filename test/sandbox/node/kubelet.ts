/** The kubelet stand-in: registers the node and runs the pods that are bound to it. */

import { isApiError } from '../kube/client/client.ts'
import type { NodeContext } from './node-context.ts'
import { nodeObject } from './node-object.ts'
import { type Pod, podKey } from './pod.ts'
import { PodWorker } from './pod-worker.ts'
import type { StatusSync } from './status-sync.ts'
import { createStatusSync } from './status-sync.ts'

type Entry = { readonly worker: PodWorker; readonly sync: StatusSync; ending?: Promise<void> }

export class Kubelet {
  readonly #node: NodeContext
  readonly #stop = new AbortController()
  /** Keyed by pod uid. */
  readonly #entries = new Map<string, Entry>()
  #addressesHeld = false
  #follow: { close(): void; synced: Promise<void> } | undefined

  constructor(node: NodeContext) {
    this.#node = node
  }

  /** Registers the node and begins to watch. Resolves when it knows the pods of the node. */
  async start(): Promise<void> {
    const { kube, name } = this.#node
    await kube.apply(nodeObject(this.#node))
    this.#follow = kube.follow<Pod>(
      'pods',
      { fieldSelector: `spec.nodeName=${name}` },
      { onChange: (pod) => this.#onChange(pod), onDelete: (pod) => this.#onDelete(pod) },
    )
    await this.#follow.synced
  }

  /** The worker of a pod by `namespace/name`: the newest with that name. */
  worker(key: string): PodWorker | undefined {
    return [...this.#entries.values()].findLast(({ worker }) => podKey(worker.pod) === key)?.worker
  }

  /** Stops reporting podIPs until {@link releaseAddresses}: a kubelet's status can be late by minutes. */
  holdAddresses(): void {
    this.#addressesHeld = true
  }

  releaseAddresses(): void {
    this.#addressesHeld = false
    for (const { sync } of this.#entries.values()) sync.mark()
  }

  /** Stops watching and reporting; processes end with the machine. */
  close(): void {
    this.#stop.abort()
    this.#follow?.close()
    for (const { worker } of this.#entries.values()) worker.abandon()
  }

  #onDelete({ metadata: { uid = '' } }: Pod): void {
    const entry = this.#entries.get(uid)
    if (entry !== undefined) this.#end(uid, entry, 0, false)
  }

  #onChange(pod: Pod): void {
    const { uid = '', deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata
    const entry = this.#entries.get(uid)
    if (entry !== undefined) {
      entry.worker.update(pod)
      if (deletionTimestamp !== undefined) this.#end(uid, entry, deletionGracePeriodSeconds ?? 30, true)
      return
    }
    if (deletionTimestamp !== undefined) return void this.#remove(pod)
    if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return
    this.#begin(uid, pod)
  }

  #begin(uid: string, pod: Pod): void {
    const { kube, addresses } = this.#node
    const worker = new PodWorker(this.#node, pod, () => {
      if (!this.#stop.signal.aborted) sync.mark()
    })
    const sync = createStatusSync(kube, worker, addresses, () => !this.#addressesHeld)
    this.#entries.set(uid, { worker, sync })
    worker.start()
  }

  /** @param report whether the pod still exists in the API, to be reported and removed there */
  #end(uid: string, entry: Entry, graceSeconds: number, report: boolean): void {
    const end = async () => {
      await entry.worker.terminate(graceSeconds * 1000)
      if (report && !this.#stop.signal.aborted) {
        entry.sync.mark()
        await entry.sync.flush()
        await this.#remove(entry.worker.pod)
      }
      this.#entries.delete(uid)
    }
    entry.ending ??= end().catch((error: unknown) => {
      // An error is expected while the machine is ending.
      if (!this.#stop.signal.aborted) throw error
    })
  }

  async #remove({ metadata: { namespace, name, uid } }: Pod): Promise<void> {
    const options = { gracePeriodSeconds: 0, ...(uid === undefined ? {} : { uid }) }
    await this.#node.kube.delete('pods', name, namespace, options).catch((error: unknown) => {
      const gone = isApiError(error, 404) || isApiError(error, 409)
      if (!gone && !this.#stop.signal.aborted) throw error
    })
  }
}
