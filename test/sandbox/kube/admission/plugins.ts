/** The in-tree mutating admission plugins, and the work of controllers that clients must not wait for. */

import { priorityPlugin, serviceAccountPlugin, tolerationPlugin } from '../objects/pod-defaults.ts'
import type { Store } from '../objects/store.ts'
import type { MutatingPlugin } from './admission.ts'

/** In the order of the real server; they run again when a webhook has changed the object. */
export function inTreePlugins(store: Store): MutatingPlugin[] {
  const forNewPods =
    (plugin: MutatingPlugin): MutatingPlugin =>
    (request, object) =>
      request.operation === 'CREATE' &&
      request.resource.plural === 'pods' &&
      request.subresource === undefined
        ? plugin(request, object)
        : object
  return [
    forNewPods((_, pod) => serviceAccountPlugin(store, pod)),
    forNewPods((_, pod) => priorityPlugin(store, pod)),
    forNewPods((_, pod) => tolerationPlugin(pod)),
  ]
}
