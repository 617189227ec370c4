/**
 * Containers and volumes under our names that are already in the pod: ours from an earlier pass (reinvocation, or
 * a manifest copied from a running pod) or somebody else's. Told by content, never by a marker annotation, which
 * anybody can copy.
 */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import { isOurs, type Kind } from '../form/container-form.ts'
import { foreignPart } from '../form/own-container.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { contains, isObject, type JsonObject } from '../json.ts'
import { ourVolumes } from '../patch/sidecar.ts'
import type { Container, Pod } from './pod.ts'
import { isTokenLife } from './token-life.ts'
import type { Obstacle } from './unsupported.ts'

/** Every name of ours begins so; the match conditions of the webhook configurations say the same. */
const PREFIX = 'pod2iam-'

/** Whether a name is one that only the injector gives. */
export const isReserved = ({ name }: { readonly name: string }): boolean => name.startsWith(PREFIX)

/**
 * What stands under a reserved name in a pod that the injector adds nothing to. The broker knows a sidecar by its
 * name and env, so in such a pod it can only be a forged one, and no annotation may keep it from being seen.
 */
export function reservedName(pod: Pod): Obstacle | undefined {
  return namedAmong(pod, isReserved)
}

function namedAmong(
  { spec }: Pod,
  matches: (named: { readonly name: string }) => boolean,
): Obstacle | undefined {
  const { containers, initContainers, ephemeralContainers, volumes } = spec
  const named = [...containers, ...(initContainers ?? []), ...(ephemeralContainers ?? [])].find(matches)
  if (named !== undefined) return container(`container ${quote(named.name)} has a reserved name`)
  const reserved = (volumes ?? []).find(matches)
  return reserved && volume(`volume ${quote(reserved.name)} has a reserved name`)
}

/** What stands under a reserved name and is nothing that a release of ours adds, if anything. */
export function foreignContent(pod: Pod, settings: InjectionSettings): Obstacle | undefined {
  const volumes = ourVolumes(settings)
  const names = new Set([SIDECAR_CONTAINER, GATE_CONTAINER, ...volumes.map(({ name }) => name)])
  return (
    namedAmong(pod, (one) => isReserved(one) && !names.has(one.name)) ??
    foreignContainer(pod, settings) ??
    foreignVolume(pod, volumes)
  )
}

/** The container of ours that a pod has, which {@link foreignContent} has shown to be there at most once. */
export function ownContainer({ spec }: Pod, kind: Kind): Container | undefined {
  return spec.initContainers?.find(({ name }) => name === kind)
}

function foreignContainer({ spec }: Pod, settings: InjectionSettings): Obstacle | undefined {
  const initContainers = spec.initContainers ?? []
  if (spec.containers.some(isOurs) || spec.ephemeralContainers?.some(isOurs))
    return container(`${SIDECAR_CONTAINER} or ${GATE_CONTAINER} stands among the pod's containers`)
  for (const kind of [SIDECAR_CONTAINER, GATE_CONTAINER] as const) {
    const named = initContainers.filter(({ name }) => name === kind)
    if (named.length > 1) return container(`init container ${kind} stands there twice`)
    const difference = named[0] && foreignPart(kind, named[0], settings)
    if (difference !== undefined)
      return container(`init container ${kind} is none of the injector's (${difference})`)
  }
  return undefined
}

function foreignVolume({ spec }: Pod, volumes: ReturnType<typeof ourVolumes>): Obstacle | undefined {
  const names: readonly string[] = volumes.map(({ name }) => name)
  for (const wanted of volumes) {
    const named = (spec.volumes ?? []).filter(({ name }) => name === wanted.name)
    if (named.some((actual) => !sameVolume(actual, wanted)))
      return volume(`volume ${wanted.name} is not as the injector adds it`)
  }
  for (const { name, volumeMounts } of [...spec.containers, ...(spec.initContainers ?? [])]) {
    const mounted = (volumeMounts ?? []).find((mount) => names.includes(String(mount.name)))
    // What our own containers mount is judged with the rest of them.
    if (mounted !== undefined && !isOurs({ name }))
      return volume(`container ${quote(name)} mounts volume ${mounted.name}`)
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

const container = (detail: string): Obstacle => ({ reason: 'reserved-container', detail })
const volume = (detail: string): Obstacle => ({ reason: 'reserved-volume', detail })
