/**
 * Containers and volumes under our names that are already in the pod: ours from an earlier pass (reinvocation, or
 * a manifest copied from a running pod) or somebody else's. Told by content, never by a marker annotation, which
 * anybody can copy.
 */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../common/keys.ts'
import { quote } from '../common/role.ts'
import { type Addition, isOurs } from './addition.ts'
import { sameRepository } from './image-reference.ts'
import { contains, type JsonObject, sameJson } from './json.ts'
import type { Container, Pod } from './pod.ts'
import type { Obstacle } from './unsupported.ts'

/** What stands under a reserved name and is not what we would add, if anything. */
export function foreignContent(pod: Pod, addition: Addition): Obstacle | undefined {
  return foreignContainer(pod, addition) ?? foreignVolume(pod, addition)
}

function foreignContainer({ spec }: Pod, { sidecar, gate }: Addition): Obstacle | undefined {
  const initContainers = spec.initContainers ?? []
  if (spec.containers.some(isOurs))
    return container(`${SIDECAR_CONTAINER} or ${GATE_CONTAINER} stands among the pod's containers`)
  for (const wanted of [sidecar, gate]) {
    const named = initContainers.filter(({ name }) => name === wanted.name)
    if (named.length > 1) return container(`init container ${wanted.name} stands there twice`)
    const difference = named[0] && foreignPart(named[0], wanted)
    if (difference !== undefined)
      return container(`init container ${wanted.name} is not as the injector adds it (${difference})`)
  }
  const at = (wanted: Container) => initContainers.findIndex(({ name }) => name === wanted.name)
  // The gate would wait for a sidecar that the kubelet starts only after it.
  if (at(gate) >= 0 && at(gate) < at(sidecar))
    return container(`init container ${gate.name} stands before ${sidecar.name}`)
  return undefined
}

/** Fields that run something else in a container than what its image and args say; we set none of them. */
const NEVER_SET = ['command', 'lifecycle', 'startupProbe', 'readinessProbe', 'livenessProbe'] as const

/** The part in which a container under our name differs beyond what defaults and other webhooks do to ours. */
function foreignPart(actual: Container, wanted: Container): string | undefined {
  // Another release of ours is no stranger: a manifest copied from a running pod, or a replica being upgraded.
  if (!sameRepository(wanted.image ?? '', actual.image)) return `image ${quote(actual.image ?? '')}`
  const set = NEVER_SET.find((field) => actual[field] !== undefined && actual[field] !== null)
  if (set !== undefined) return set
  if (!sameJson(actual.args ?? [], wanted.args ?? [])) return 'args'
  if (wanted.restartPolicy === undefined && (actual.restartPolicy ?? null) !== null) return 'restartPolicy'
  const wantedEnv = new Map((wanted.env ?? []).map((entry) => [entry.name, entry]))
  const missing = [...wantedEnv.values()].find(
    (entry) => !(actual.env ?? []).some((other) => sameJson(other, entry)),
  )
  if (missing !== undefined) return `env ${missing.name}`
  const extra = (actual.env ?? []).find(
    (entry) => entry.name.startsWith('POD2IAM_') && !sameJson(entry, wantedEnv.get(entry.name)),
  )
  if (extra !== undefined) return `env ${quote(extra.name)}`
  const mount = (wanted.volumeMounts ?? []).find((entry) =>
    (actual.volumeMounts ?? []).some(
      (other) => other.mountPath === entry.mountPath && !contains(other, entry),
    ),
  )
  return mount === undefined ? undefined : 'volumeMounts'
}

function foreignVolume({ spec }: Pod, { volumes }: Addition): Obstacle | undefined {
  const names = volumes.map(({ name }) => name)
  for (const wanted of volumes) {
    const named = (spec.volumes ?? []).filter(({ name }) => name === wanted.name)
    if (named.some((actual) => !sameVolume(actual, wanted)))
      return volume(`volume ${wanted.name} is not as the injector adds it`)
  }
  for (const { name, volumeMounts } of [...spec.containers, ...(spec.initContainers ?? [])]) {
    const mounted = (volumeMounts ?? []).find((mount) => names.includes(String(mount.name)))
    if (mounted !== undefined && name !== SIDECAR_CONTAINER)
      return volume(`container ${quote(name)} mounts volume ${mounted.name}`)
  }
  return undefined
}

function sameVolume(actual: JsonObject, wanted: JsonObject): boolean {
  if (!contains(actual, wanted)) return false
  const { projected } = actual as { projected?: JsonObject }
  // 0644 is what the API server fills in; a narrower mode would hide the token from the sidecar's user.
  return projected?.defaultMode === undefined || projected.defaultMode === 0o644
}

const container = (detail: string): Obstacle => ({ reason: 'reserved-container', detail })
const volume = (detail: string): Obstacle => ({ reason: 'reserved-volume', detail })
