/** Service meshes whose injected containers must come before ours, because their rules and proxy carry our traffic. */
import { isOurs } from './reserved.ts'

const MESH_CONTAINERS = new Set([
  'istio-init',
  'istio-validation',
  'istio-proxy',
  'linkerd-init',
  'linkerd-network-validator',
  'linkerd-proxy',
  'kuma-init',
  'kuma-sidecar',
  'kuma-validation',
])

export function isMeshContainer({ name }: { readonly name: string }): boolean {
  return MESH_CONTAINERS.has(name)
}

/** Number of mesh containers at the front of `initContainers`, which is the index of our first one. */
export function leadingMeshContainers(initContainers: readonly { readonly name: string }[]): number {
  const first = initContainers.findIndex((container) => !isMeshContainer(container))
  return first < 0 ? initContainers.length : first
}

/** Whether an init container may come before ours. */
export const mayBeFirst = (one: { readonly name: string }) => isOurs(one) || isMeshContainer(one)
