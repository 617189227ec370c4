/** How a resource shows stored objects. */
import { eventFromCore, eventToCore, eventUpdateErrors, newEventErrors } from '../objects/events.ts'
import type { KubeObject } from '../objects/objects.ts'
import { type Resource, resourceNamed } from '../objects/resources.ts'
import { invalid } from '../objects/status.ts'

const CORE_EVENTS = resourceNamed('events')

/** Events of `events.k8s.io` are stored in the core form; all other objects are stored as they are. */
export type View = {
  readonly resource: Resource
  readonly stored: Resource
  show(object: KubeObject): KubeObject
  /** Converts to the stored form; `current` (stored form) on update. Throws 422 for what only this view refuses. */
  read(object: KubeObject, current: KubeObject | undefined): KubeObject
}

export function viewOf(resource: Resource): View {
  if (resource.group !== 'events.k8s.io')
    return { resource, stored: resource, show: (object) => object, read: (object) => object }
  return {
    resource,
    stored: CORE_EVENTS,
    show: eventFromCore,
    read(object, current) {
      const errors =
        current === undefined ? newEventErrors(object) : eventUpdateErrors(object, eventFromCore(current))
      if (errors.length > 0) throw invalid('Event', '', object.metadata.name ?? '', errors)
      return eventToCore(object)
    },
  }
}
