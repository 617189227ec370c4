/**
 * Containers and volumes under our names that are already in the pod: ours from an earlier pass (reinvocation, or
 * a manifest copied from a running pod) or somebody else's. Their content decides, never a marker annotation, which
 * anybody can copy.
 */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { contains, isObject, type JsonObject } from '../json.ts'
import { ourVolumes } from '../patch/sidecar.ts'
import type { Pod } from '../pod/pod.ts'
import { isOurs, isReserved, reservedContainer, reservedName, reservedVolume } from '../pod/reserved.ts'
import { isTokenLife } from '../pod/token-life.ts'
import type { Obstacle } from '../pod/unsupported.ts'
import { foreignPart } from './own-container.ts'

/** What stands under a reserved name and is nothing that a release of ours adds, if anything. */
export function foreignContent(pod: Pod, settings: InjectionSettings): Obstacle | undefined {
  const volumes = ourVolumes(settings)
  const names = new Set([SIDECAR_CONTAINER, GATE_CONTAINER, ...volumes.map(({ name }) => name)])
  return (
    reservedName(pod, (one) => isReserved(one) && !names.has(one.name)) ??
    foreignContainer(pod, settings) ??
    foreignVolume(pod, volumes)
  )
}

function foreignContainer({ spec }: Pod, settings: InjectionSettings): Obstacle | undefined {
  const initContainers = spec.initContainers ?? []
  if (spec.containers.some(isOurs) || spec.ephemeralContainers?.some(isOurs))
    return reservedContainer(`${SIDECAR_CONTAINER} or ${GATE_CONTAINER} stands among the pod's containers`)
  for (const kind of [SIDECAR_CONTAINER, GATE_CONTAINER] as const) {
    const named = initContainers.filter(({ name }) => name === kind)
    if (named.length > 1) return reservedContainer(`init container ${kind} stands there twice`)
    const difference = named[0] && foreignPart(kind, named[0], settings)
    if (difference !== undefined)
      return reservedContainer(`init container ${kind} is none of the injector's (${difference})`)
  }
  return undefined
}

function foreignVolume({ spec }: Pod, volumes: ReturnType<typeof ourVolumes>): Obstacle | undefined {
  const names: readonly string[] = volumes.map(({ name }) => name)
  for (const wanted of volumes) {
    const named = (spec.volumes ?? []).filter(({ name }) => name === wanted.name)
    if (named.some((actual) => !sameVolume(actual, wanted)))
      return reservedVolume(`volume ${wanted.name} is not as the injector adds it`)
  }
  for (const { name, volumeMounts } of [...spec.containers, ...(spec.initContainers ?? [])]) {
    const mounted = (volumeMounts ?? []).find((mount) => names.includes(String(mount.name)))
    // What our own containers mount is judged with the rest of them.
    if (mounted !== undefined && !isOurs({ name }))
      return reservedVolume(`container ${quote(name)} mounts volume ${mounted.name}`)
  }
  return undefined
}

function sameVolume(actual: JsonObject, wanted: JsonObject): boolean {
  if (!contains(actual, wanted) && !contains(actual, withLifeOf(actual, wanted))) return false
  const { projected } = actual as { projected?: JsonObject }
  // 0644 is what the API server fills in; a narrower mode would hide the token from the sidecar's user.
  return projected?.defaultMode === undefined || projected.defaultMode === 0o644
}

/**
 * The volume we would add, its token as long-lived as the one that is there: pods of an earlier release, or added by a replica
 * with another setting, are ours, too. Every pod may have a token of any life for our audience, so nothing is gained by it.
 */
function withLifeOf(actual: JsonObject, wanted: JsonObject): JsonObject {
  const life = tokenSource(actual)?.expirationSeconds
  const ours = tokenSource(wanted)
  if (ours === undefined || !isTokenLife(life)) return wanted
  const serviceAccountToken = { ...ours, expirationSeconds: life }
  return { ...wanted, projected: { sources: [{ serviceAccountToken }] } }
}

function tokenSource({ projected }: JsonObject): JsonObject | undefined {
  const sources = isObject(projected) && Array.isArray(projected.sources) ? projected.sources : []
  const [first] = sources
  return isObject(first) && isObject(first.serviceAccountToken) ? first.serviceAccountToken : undefined
}
