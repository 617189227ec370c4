/** Resolves `clientConfig.service` to the address of a ready pod, as kube-proxy and endpoints do on a cluster. */
import { type KubeObject, listAt, objectAt, stringAt } from '../objects/objects.ts'
import type { Store } from '../objects/store.ts'

const core = (plural: string) => ({ group: '', plural })

function isReady(pod: KubeObject): boolean {
  return (
    pod.metadata.deletionTimestamp === undefined &&
    stringAt(pod, 'status', 'phase') === 'Running' &&
    listAt(pod, 'status', 'conditions').some((c) => c.type === 'Ready' && c.status === 'True')
  )
}

function namedPort(pod: KubeObject, name: string): number | undefined {
  const spec = objectAt(pod, 'spec')
  // Native sidecars' ports count, too.
  const containers = [
    ...listAt(spec, 'containers'),
    ...listAt(spec, 'initContainers').filter((c) => c.restartPolicy === 'Always'),
  ]
  const port = containers.flatMap((c) => listAt(c, 'ports')).find((p) => p.name === name)?.containerPort
  return typeof port === 'number' ? port : undefined
}

/**
 * The addresses behind a Service's port: ready pods of its selector, or, without a selector, its Endpoints object.
 *
 * @throws Error with the real server's text when there is no such service, port or endpoint
 */
export function serviceEndpoints(
  store: Store,
  namespace: string,
  name: string,
  port: number,
): { host: string; port: number }[] {
  const service = store.get(core('services'), namespace, name)
  if (service === undefined) throw new Error(`service "${name}" not found`)
  const entry = listAt(service, 'spec', 'ports').find((p) => p.port === port)
  if (entry === undefined) throw new Error(`no service port ${port} found for service "${name}"`)
  const selector = Object.entries(objectAt(service, 'spec', 'selector'))
  const found =
    selector.length > 0
      ? store
          .list(core('pods'), namespace)
          .filter(
            (pod) => selector.every(([key, value]) => pod.metadata.labels?.[key] === value) && isReady(pod),
          )
          .map((pod) => ({
            host: stringAt(pod, 'status', 'podIP') ?? '',
            port:
              typeof entry.targetPort === 'number'
                ? entry.targetPort
                : namedPort(pod, String(entry.targetPort)),
          }))
      : fromEndpoints(store.get(core('endpoints'), namespace, name), stringAt(entry, 'name'))
  const usable = found.flatMap(({ host, port: target }) =>
    host !== '' && target !== undefined ? [{ host, port: target }] : [],
  )
  if (usable.length === 0) throw new Error(`no endpoints available for service "${name}"`)
  return usable
}

function fromEndpoints(endpoints: KubeObject | undefined, portName: string | undefined) {
  return listAt(endpoints, 'subsets').flatMap((subset) => {
    const port = listAt(subset, 'ports').find((p) => portName === undefined || p.name === portName)?.port
    return listAt(subset, 'addresses').map((address) => ({
      host: stringAt(address, 'ip') ?? '',
      port: typeof port === 'number' ? port : undefined,
    }))
  })
}
