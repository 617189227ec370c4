/** What happens to dependents when their owner goes: background, foreground, orphan. */
import { type Actor, isTerminating } from './controller-context.ts'
import { isObject, type KubeObject } from './objects.ts'
import { resourceByKind } from './resources.ts'

const ORPHAN = 'orphan'
const FOREGROUND = 'foregroundDeletion'

function dependentsOf(actor: Actor, uid: string): KubeObject[] {
  return [...actor.store.all()]
    .map(([, object]) => object)
    .filter((object) => (object.metadata.ownerReferences ?? []).some((reference) => reference.uid === uid))
}

function exists(actor: Actor, uid: string): boolean {
  for (const [, object] of actor.store.all()) if (object.metadata.uid === uid) return true
  return false
}

async function dropFinalizer(actor: Actor, object: KubeObject, name: string): Promise<void> {
  const resource = resourceByKind(object.apiVersion, object.kind)
  if (resource === undefined) return
  await actor.patch(resource, object, (current) => ({
    ...current,
    metadata: {
      ...current.metadata,
      finalizers: (current.metadata.finalizers ?? []).filter((one) => one !== name),
    },
  }))
}

async function orphan(actor: Actor, dependent: KubeObject, owner: string): Promise<void> {
  const resource = resourceByKind(dependent.apiVersion, dependent.kind)
  if (resource === undefined) return
  await actor.patch(resource, dependent, (current) => ({
    ...current,
    metadata: {
      ...current.metadata,
      ownerReferences: (current.metadata.ownerReferences ?? []).filter(
        (reference) => reference.uid !== owner,
      ),
    },
  }))
}

async function removeDependents(actor: Actor, uid: string): Promise<number> {
  const dependents = dependentsOf(actor, uid)
  for (const dependent of dependents) {
    const resource = resourceByKind(dependent.apiVersion, dependent.kind)
    const others = (dependent.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid)
    const kept = others.some((reference) => exists(actor, reference.uid))
    if (resource === undefined || isTerminating(dependent)) continue
    if (kept) await orphan(actor, dependent, uid)
    else await actor.remove(resource, dependent)
  }
  return dependents.length
}

/** Looks after everything that names `uid` as its owner. */
export async function collect(actor: Actor, uid: string): Promise<void> {
  const owner = [...actor.store.all()]
    .map(([, object]) => object)
    .find((object) => object.metadata.uid === uid)
  if (owner === undefined) {
    await removeDependents(actor, uid)
    return
  }
  if (!isTerminating(owner)) return
  const finalizers = owner.metadata.finalizers ?? []
  if (finalizers.includes(ORPHAN)) {
    for (const dependent of dependentsOf(actor, uid)) await orphan(actor, dependent, uid)
    await dropFinalizer(actor, owner, ORPHAN)
  }
  if (finalizers.includes(FOREGROUND) && (await removeDependents(actor, uid)) === 0)
    await dropFinalizer(actor, owner, FOREGROUND)
}

/** The owners an object names, and itself: whose dependents to look at after it changed. */
export function affectedOwners(object: unknown): string[] {
  if (!isObject(object) || !isObject(object.metadata)) return []
  const { uid, ownerReferences } = object.metadata
  const references = Array.isArray(ownerReferences) ? ownerReferences : []
  return [uid, ...references.map((reference) => (isObject(reference) ? reference.uid : undefined))].filter(
    (one) => typeof one === 'string',
  )
}
