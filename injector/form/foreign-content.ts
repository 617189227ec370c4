/**
 * Containers and volumes with our names that are already in the pod: either ours from an earlier pass (reinvocation, or
 * a manifest copied from a running pod) or foreign ones. Their content decides, never a marker annotation, which
 * anyone can copy.
 */
import { GATE_CONTAINER, SIDECAR_CONTAINER, WEB_IDENTITY_VOLUME } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { contains, isObject, type JsonObject } from '../json.ts'
import type { Pod } from '../pod/pod.ts'
import { isOurs, isReserved, reservedContainer, reservedName, reservedVolume } from '../pod/reserved.ts'
import type { Obstacle } from '../pod/unsupported.ts'
import { isTokenLifetime } from '../token-lifetime.ts'
import { foreignPart } from './own-container.ts'
import { isAppMount, ourVolumes } from './volumes.ts'

/** The first container or volume under a reserved name that no release of ours adds, if any. */
export function foreignContent(pod: Pod, settings: InjectionSettings): Obstacle | undefined {
  const volumes = ourVolumes(settings, { credentialSource: 'web-identity', containerCredentials: true })
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
    return reservedContainer(`${SIDECAR_CONTAINER} or ${GATE_CONTAINER} is among the pod's containers`)
  for (const kind of [SIDECAR_CONTAINER, GATE_CONTAINER] as const) {
    const named = initContainers.filter(({ name }) => name === kind)
    if (named.length > 1) return reservedContainer(`init container ${kind} is there twice`)
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
    const mounted = (volumeMounts ?? []).find(
      (mount) => names.includes(String(mount.name)) && !isAppMount(mount),
    )
    // The mounts of our own containers are judged with the rest of these containers.
    if (mounted !== undefined && !isOurs({ name }))
      return reservedVolume(`container ${quote(name)} mounts volume ${mounted.name}`)
  }
  return undefined
}

function sameVolume(actual: JsonObject, wanted: JsonObject): boolean {
  if (!contains(actual, wanted) && !contains(actual, withLifeOf(actual, wanted))) return false
  const { projected } = actual as { projected?: JsonObject }
  // The API server's default is 0644; a stricter mode would hide the token from the sidecar's user.
  return projected?.defaultMode === undefined || projected.defaultMode === 0o644
}

/**
 * The volume that we would add, with the token's lifetime (and, of the second token, the audience) of the one that is there: a volume of an earlier release, or of a replica
 * with another setting, is ours too. Any pod may request a token with any lifetime for our audience, so this gives an attacker no advantage.
 */
function withLifeOf(actual: JsonObject, wanted: JsonObject): JsonObject {
  const theirs = tokenSource(actual)
  const life = theirs?.expirationSeconds
  const ours = tokenSource(wanted)
  if (ours === undefined || !isTokenLifetime(life)) return wanted
  // That of the second token is the operator's, and a replica may have another one.
  const audience = wanted.name === WEB_IDENTITY_VOLUME ? (theirs?.audience ?? null) : (ours.audience ?? null)
  const serviceAccountToken = { ...ours, audience, expirationSeconds: life }
  return { ...wanted, projected: { sources: [{ serviceAccountToken }] } }
}

function tokenSource({ projected }: JsonObject): JsonObject | undefined {
  const sources = isObject(projected) && Array.isArray(projected.sources) ? projected.sources : []
  const [first] = sources
  return isObject(first) && isObject(first.serviceAccountToken) ? first.serviceAccountToken : undefined
}
