/** What a person should know about containers that run before ours or proxies that stand in our way. */
import { BROKER_ADDRESSES } from '../common/addresses.ts'
import { SIDECAR_CONTAINER } from '../common/keys.ts'
import { quote } from '../common/role.ts'
import { isMeshContainer } from './mesh.ts'
import type { Pod } from './pod.ts'
import type { RedirectMode } from './settings.ts'

export function placementWarnings({ spec }: Pod, redirect: RedirectMode): string[] {
  const initContainers = spec.initContainers ?? []
  const sidecarAt = initContainers.findIndex(({ name }) => name === SIDECAR_CONTAINER)
  const early = initContainers.slice(0, Math.max(sidecarAt, 0)).filter((one) => !isMeshContainer(one))
  const warnings = early.map(
    ({ name }) =>
      `init container ${quote(name)} was put before ${SIDECAR_CONTAINER} by another webhook and gets no credentials`,
  )
  // In mode nft the gate exempts the broker from the mesh; in mode env there is no rule of ours.
  const captured = initContainers.some(({ name }) => name === 'istio-init' || name === 'linkerd-init')
  if (redirect === 'env' && captured)
    warnings.push(
      `the mesh captures the sidecar's traffic in redirect mode env: exclude ${BROKER_ADDRESSES[0]}/32 from its outbound redirection`,
    )
  return warnings
}
