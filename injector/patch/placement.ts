/** The position of the sidecar and of the gate, if there is one, among the init containers: after those of a service mesh, before all others. */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { leadingMeshContainers, mayBeFirst } from '../pod/mesh.ts'
import type { Container } from '../pod/pod.ts'
import { isOurs } from '../pod/reserved.ts'
import type { Addition } from './addition.ts'

/** An init container after the patch: one that was there, at `index`, or one of ours that is added or moved. */
export type Placed = { readonly container: Container; readonly index: number | undefined }

/**
 * The init containers in their final order. Ours move only when they must: Velero's restore, Vault's agent and other webhooks put
 * their containers first; after ours these work as well, and have credentials.
 */
export function orderedInitContainers(
  initContainers: readonly Container[],
  { sidecar, gate }: Addition,
): Placed[] {
  const placed = initContainers.map((container, index): Placed => ({ container, index }))
  const at = (name: string) => initContainers.findIndex((one) => one.name === name)
  const [sidecarAt, gateAt] = [at(SIDECAR_CONTAINER), at(GATE_CONTAINER)]
  const [sidecarStays, gateStays] = [isFirst(initContainers, sidecarAt), isFirst(initContainers, gateAt)]
  const added = (container: Container): Placed => ({ container, index: undefined })
  const others = placed.filter(({ container }) => !isOurs(container))
  const front = leadingMeshContainers(others.map(({ container }) => container))
  const own = (index: number, wanted: Container) => added(initContainers[index] ?? wanted)
  // In one stage there is no gate, even where a replica that writes two stages has added one.
  if (gate === undefined)
    return sidecarStays
      ? placed.filter((_, index) => index !== gateAt)
      : others.toSpliced(front, 0, own(sidecarAt, sidecar))
  if (sidecarStays && gateStays && sidecarAt < gateAt) return placed
  if (sidecarStays && gateAt < 0) return placed.toSpliced(sidecarAt + 1, 0, added(gate))
  if (gateStays && sidecarAt < 0) return placed.toSpliced(gateAt, 0, added(sidecar))
  return others.toSpliced(front, 0, own(sidecarAt, sidecar), own(gateAt, gate))
}

function isFirst(initContainers: readonly Container[], at: number): boolean {
  return at >= 0 && initContainers.slice(0, at).every(mayBeFirst)
}
