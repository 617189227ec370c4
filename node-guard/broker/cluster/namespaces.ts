import type { V1Namespace } from '@kubernetes/client-node'
import type { Clock } from '../../../common/clock.ts'
import { type InjectionMode, injectionMode, KEYS } from '../../../common/keys.ts'
import type { Sink } from '../../../common/kube/reflector.ts'

/** What is kept of a namespace: what policy needs. */
export type NamespaceRecord = {
  readonly name: string
  readonly injection: InjectionMode | undefined
  /** Only those that policy reads. */
  readonly annotations: Readonly<Record<string, string>>
}

const POLICY_KEYS: readonly string[] = [
  KEYS.allowedRoles,
  KEYS.permitted,
  KEYS.defaultRole,
  KEYS.allowedExternalIds,
]

/** Only namespaces that carry our label are watched: the others' number costs a node nothing. */
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
export type Namespaces = {
  readonly sink: Sink<NamespaceRecord>
  readonly get: (name: string) => NamespaceRecord | undefined
  /** Takes in what a live read brought, for half a minute: by then the watch knows better. */
  readonly learn: (namespace: NamespaceRecord) => void
}

const LEARNED_MS = 30_000

/** @param onChange told of every namespace whose policy may have changed, also by its disappearance */
export function namespaceStore(onChange: (name: string) => void, clock: Clock): Namespaces {
  const byName = new Map<string, NamespaceRecord>()
  const learned = new Map<string, NamespaceRecord>()
  const upsert = (namespace: NamespaceRecord) => {
    learned.delete(namespace.name)
    if (sameNamespace(byName.get(namespace.name), namespace)) return
    byName.set(namespace.name, namespace)
    onChange(namespace.name)
  }
  const remove = ({ name }: { readonly name: string }) => {
    learned.delete(name)
    if (byName.delete(name)) onChange(name)
  }
  return {
    sink: {
      project: namespaceRecord,
      replace: (all) => {
        const names = new Set(all.map(({ name }) => name))
        for (const name of [...byName.keys()]) if (!names.has(name)) remove({ name })
        for (const namespace of all) upsert(namespace)
      },
      upsert,
      remove,
    },
    get: (name) => byName.get(name) ?? learned.get(name),
    learn: (namespace) => {
      learned.set(namespace.name, namespace)
      clock.after(LEARNED_MS, () => learned.delete(namespace.name))
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
