/** Events of the kubelet about a container. */
import { randomBytes } from 'node:crypto'
import type { NodeContext } from './node-context.ts'
import type { Container, Pod } from './pod.ts'

/** Records a Warning. It is not guaranteed: as with the kubelet, an Event that the API server does not accept is lost. */
export function recordWarning(
  { kube, name: host }: Pick<NodeContext, 'kube' | 'name'>,
  pod: Pod,
  container: Container,
  reason: string,
  message: string,
): void {
  const { name, namespace = 'default', uid } = pod.metadata
  const list = pod.spec.containers.includes(container) ? 'containers' : 'initContainers'
  const now = `${new Date().toISOString().slice(0, 19)}Z`
  const event = {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: `${name}.${randomBytes(8).toString('hex')}`, namespace },
    involvedObject: {
      apiVersion: 'v1',
      kind: 'Pod',
      name,
      namespace,
      ...(uid === undefined ? {} : { uid }),
      fieldPath: `spec.${list}{${container.name}}`,
    },
    reason,
    message,
    type: 'Warning',
    count: 1,
    source: { component: 'kubelet', host },
    firstTimestamp: now,
    lastTimestamp: now,
  }
  kube.create(event).catch(() => {})
}
