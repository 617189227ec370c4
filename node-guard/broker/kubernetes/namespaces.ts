import type { V1Namespace } from '@kubernetes/client-node'
import type { Clock } from '../../../common/clock.ts'
import { type InjectionMode, injectionMode, KEYS } from '../../../common/keys.ts'
import type { Sink } from '../../../common/kube/reflector.ts'
import { revisionsOfWatch } from './revisions.ts'

/** What is stored about a namespace: what the policy needs. */
export type NamespaceRecord = {
  readonly name: string
  readonly injection: InjectionMode | undefined
  /** Only those that the policy reads. */
  readonly annotations: Readonly<Record<string, string>>
}

const POLICY_KEYS: readonly string[] = [
  KEYS.allowedRoles,
  KEYS.permitted,
  KEYS.defaultRole,
  KEYS.allowedExternalIds,
]

/** Only namespaces with our label are watched, so others cost a node nothing, no matter how many there are. */
export const NAMESPACES_QUERY = { labelSelector: KEYS.injection }

/** Projects a namespace as the API server sends it. Never throws. */
export function namespaceRecord(object: unknown): NamespaceRecord | undefined {
  const { metadata } = (object ?? {}) as V1Namespace
  if (!metadata?.name) return undefined
  const annotations = Object.entries(metadata.annotations ?? {}).filter(([key]) => POLICY_KEYS.includes(key))
  return {
    name: metadata.name,
    injection: injectionMode(metadata.labels),
    annotations: Object.fromEntries(annotations),
  }
}

/** The namespaces that carry our label, by name. */
export type Namespaces = ReturnType<typeof namespaceStore>

const LEARNED_MS = 30_000
const MAX_REVISIONS = 1024

export function namespaceStore(clock: Clock) {
  const listeners: ((name: string) => void)[] = []
  const byName = new Map<string, NamespaceRecord>()
  const learned = new Map<string, NamespaceRecord>()
  const revisions = revisionsOfWatch(MAX_REVISIONS)
  const changed = (name: string) => {
    for (const onChange of listeners) onChange(name)
  }
  const get = (name: string) => learned.get(name) ?? byName.get(name)

  const upsert = (namespace: NamespaceRecord) => {
    const before = get(namespace.name)
    learned.delete(namespace.name)
    byName.set(namespace.name, namespace)
    if (!sameNamespace(before, namespace)) changed(namespace.name)
  }
  const remove = (name: string) => {
    const before = get(name)
    learned.delete(name)
    byName.delete(name)
    if (before) changed(name)
  }
  const sink: Sink<NamespaceRecord> = {
    project: namespaceRecord,
    replace: (all) => {
      revisions.listed()
      const names = new Set(all.map(({ name }) => name))
      for (const name of [...byName.keys(), ...learned.keys()]) if (!names.has(name)) remove(name)
      for (const namespace of all) upsert(namespace)
    },
    upsert: (namespace) => {
      revisions.reported(namespace.name)
      upsert(namespace)
    },
    remove: ({ name }) => {
      revisions.reported(name)
      remove(name)
    },
  }
  return {
    sink,
    get,
    /** @param onChange called for every namespace whose policy may have changed, also by its disappearance */
    subscribe: (onChange: (name: string) => void) => void listeners.push(onChange),
    /** As {@link revisionsOfWatch} counts: another number means that the watch has reported the namespace in between. */
    revision: revisions.of,
    /**
     * Keeps what a live read found for half a minute, by when the watch has it, too; unless the watch has reported the namespace
     * since `revision`, that of when the read began.
     */
    learn: (namespace: NamespaceRecord, revision: number) => {
      const { name } = namespace
      if (revisions.of(name) !== revision) return
      learned.set(name, namespace)
      clock.after(LEARNED_MS, () => {
        // A later read's result stays for its own half minute.
        if (learned.get(name) === namespace) learned.delete(name)
      })
    },
  }
}

function sameNamespace(a: NamespaceRecord | undefined, b: NamespaceRecord): boolean {
  return (
    a !== undefined &&
    a.injection === b.injection &&
    POLICY_KEYS.every((key) => a.annotations[key] === b.annotations[key])
  )
}
