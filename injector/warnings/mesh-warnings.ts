/** Warns of service meshes that capture the sidecar's traffic. */
import { BROKER_ADDRESSES } from '../../common/addresses.ts'
import type { Pod } from '../pod/pod.ts'
import type { RedirectMode } from '../settings.ts'

export function meshWarnings({ spec }: Pod, redirect: RedirectMode): string[] {
  // In mode nft the gate exempts the broker from the mesh; in mode env there is no rule of ours.
  const isCaptured = spec.initContainers?.some(({ name }) => name === 'istio-init' || name === 'linkerd-init')
  return redirect === 'env' && isCaptured
    ? [
        `the mesh captures the sidecar's traffic in redirect mode env: exclude ${BROKER_ADDRESSES[0]}/32 from its outbound redirection`,
      ]
    : []
}
