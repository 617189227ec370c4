/** Deletes dependents in the background when their owners are gone. */

import { isObject } from '../objects/objects.ts'
import { resourceByKind } from '../objects/resources.ts'
import { type Actor, isTerminating } from './controller-context.ts'

/** Deletes the objects that name `uid` as an owner, if none of their owners exists any more. */
export async function collect(actor: Actor, uid: string): Promise<void> {
  const all = [...actor.store.all()].map(([, object]) => object)
  const living = new Set(all.map(({ metadata }) => metadata.uid))
  if (living.has(uid)) return
  for (const dependent of all) {
    const owners = (dependent.metadata.ownerReferences ?? []).map((reference) => reference.uid)
    const resource = resourceByKind(dependent.apiVersion, dependent.kind)
    if (!owners.includes(uid) || resource === undefined || isTerminating(dependent)) continue
    if (!owners.some((owner) => living.has(owner))) await actor.remove(resource, dependent)
  }
}

/** The owners that an object names, and itself: their dependents are checked after it changed. */
export function affectedOwners(object: unknown): string[] {
  if (!isObject(object) || !isObject(object.metadata)) return []
  const { uid, ownerReferences } = object.metadata
  const references = Array.isArray(ownerReferences) ? ownerReferences : []
  return [uid, ...references.map((reference) => (isObject(reference) ? reference.uid : undefined))].filter(
    (one) => typeof one === 'string',
  )
}
