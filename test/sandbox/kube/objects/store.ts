/** Objects by resource, one monotonic resourceVersion, and a bounded history that watches replay. */
import type { KubeObject } from './objects.ts'
import { keyOf } from './resources.ts'

type Key = { readonly group: string; readonly plural: string }

/** A change. With `previous` a filtered watch distinguishes ADDED from MODIFIED and from leaving its selector. */
export type Change = {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly key: string
  readonly object: KubeObject
  readonly previous: KubeObject | undefined
}

export type Listener = (change: Change) => void

/** Continue tokens are valid as long as etcd keeps old revisions; here, for this many snapshots. */
const SNAPSHOTS = 200

function storageName(namespace: string | undefined, name: string): string {
  return `${namespace ?? ''}/${name}`
}

/** Objects in a store are never changed in place: what `get` and `list` return may be kept and compared by reference. */
export class Store {
  #objects = new Map<string, Map<string, KubeObject>>()
  #history: Change[] = []
  #listeners = new Set<Listener>()
  #pending: Change[] = []
  #snapshots = new Map<string, readonly KubeObject[]>()
  #version = 1000
  #compacted = 1000
  readonly #historyLimit: number

  /** @param historyLimit the number of changes that are kept for watches; older ones are answered with 410 */
  constructor(historyLimit = 10_000) {
    this.#historyLimit = historyLimit
  }

  get version(): number {
    return this.#version
  }

  /** Watches from a version below this one are answered with 410. */
  get compactedVersion(): number {
    return this.#compacted
  }

  get(key: Key, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.#objects.get(keyOf(key))?.get(storageName(namespace, name))
  }

  /** Sorted by namespace and name, as etcd returns them. */
  list(key: Key, namespace?: string): KubeObject[] {
    const entries = [...(this.#objects.get(keyOf(key)) ?? [])]
    const prefix = namespace === undefined ? '' : `${namespace}/`
    return entries
      .filter(([name]) => name.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object)
  }

  /** Every stored object with its `group/plural`. */
  *all(): Generator<[string, KubeObject]> {
    for (const [key, objects] of this.#objects) for (const object of objects.values()) yield [key, object]
  }

  /** Writes an object under the next version; `previous` is what it replaces. Returns what was stored. */
  put(key: Key, object: KubeObject, previous: KubeObject | undefined): KubeObject {
    const version = ++this.#version
    const stored: KubeObject = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(version) },
    }
    const name = keyOf(key)
    let objects = this.#objects.get(name)
    if (objects === undefined) {
      objects = new Map()
      this.#objects.set(name, objects)
    }
    objects.set(storageName(stored.metadata.namespace, stored.metadata.name ?? ''), stored)
    const type = previous === undefined ? 'ADDED' : 'MODIFIED'
    this.#record({ version, type, key: name, object: stored, previous })
    return stored
  }

  /** Removes an object; the DELETED event carries the version of the deletion. */
  remove(key: Key, object: KubeObject): KubeObject {
    const version = ++this.#version
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } }
    const name = keyOf(key)
    this.#objects.get(name)?.delete(storageName(object.metadata.namespace, object.metadata.name ?? ''))
    this.#record({ version, type: 'DELETED', key: name, object: last, previous: object })
    return last
  }

  #record(change: Change): void {
    this.#history.push(change)
    if (this.#history.length > this.#historyLimit) {
      const dropped = this.#history.splice(0, this.#history.length - this.#historyLimit)
      this.#compacted = dropped.at(-1)?.version ?? this.#compacted
    }
    this.#pending.push(change)
    if (this.#pending.length > 1) return
    // A listener may write: its change is delivered after all listeners have received this one.
    for (let next = this.#pending[0]; next !== undefined; next = this.#pending[0]) {
      for (const listener of [...this.#listeners]) listener(next)
      this.#pending.shift()
    }
  }

  /** Changes after `version`, or undefined when some of them were compacted away. */
  since(key: Key, version: number): Change[] | undefined {
    if (version < this.#compacted) return undefined
    const name = keyOf(key)
    return this.#history.filter((change) => change.version > version && change.key === name)
  }

  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Keeps the rest of a paged list consistent with its first page. */
  saveSnapshot(id: string, objects: readonly KubeObject[]): void {
    this.#snapshots.set(id, objects)
    const oldest = this.#snapshots.keys().next().value
    if (this.#snapshots.size > SNAPSHOTS && oldest !== undefined) this.#snapshots.delete(oldest)
  }

  snapshot(id: string): readonly KubeObject[] | undefined {
    return this.#snapshots.get(id)
  }

  /** Removes history and snapshots, as etcd's compaction does. Idle watches continue; resuming from an older version is 410. */
  compact(): void {
    // Compaction must make every earlier version too old, even if nothing changed since.
    this.#version++
    this.#compacted = this.#version
    this.#history = []
    this.#snapshots.clear()
  }
}
