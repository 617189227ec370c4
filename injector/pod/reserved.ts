/** Names that only the injector gives to containers and volumes; `form/foreign-content.ts` judges what has them. */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import type { Container, Pod } from './pod.ts'
import type { Obstacle } from './unsupported.ts'

/** The prefix of all our names, also in the match conditions of the webhook configurations. */
const PREFIX = 'pod2iam-'

/** Whether a name is one that only the injector gives. */
export const isReserved = ({ name }: { readonly name: string }): boolean => name.startsWith(PREFIX)

/** The two containers that are ours. */
export type Kind = typeof SIDECAR_CONTAINER | typeof GATE_CONTAINER

/** Which of our containers one is, judged by its name alone. */
export function kindOf({ name }: { readonly name: string }): Kind | undefined {
  return name === SIDECAR_CONTAINER || name === GATE_CONTAINER ? name : undefined
}

/** Whether a container has one of our names; `foreignContent` judges its content. */
export const isOurs = (container: { readonly name: string }): boolean => kindOf(container) !== undefined

/**
 * The first container or volume with a reserved name in a pod that gets no sidecar. The broker recognises a sidecar by its name and
 * env, so in such a pod it can only be a forged one, and no annotation may hide it.
 *
 * @param matches which names to look for; by default all with our prefix
 */
export function reservedName(
  { spec }: Pod,
  matches: (named: { readonly name: string }) => boolean = isReserved,
): Obstacle | undefined {
  const { containers, initContainers, ephemeralContainers, volumes } = spec
  const named = [...containers, ...(initContainers ?? []), ...(ephemeralContainers ?? [])].find(matches)
  if (named !== undefined) return reservedContainer(`container ${quote(named.name)} has a reserved name`)
  const reserved = (volumes ?? []).find(matches)
  return reserved && reservedVolume(`volume ${quote(reserved.name)} has a reserved name`)
}

/** The pod's container of this kind; `foreignContent` has made sure that there is at most one. */
export function ownContainer({ spec }: Pod, kind: Kind): Container | undefined {
  return spec.initContainers?.find(({ name }) => name === kind)
}

export const reservedContainer = (detail: string): Obstacle => ({ reason: 'reserved-container', detail })
export const reservedVolume = (detail: string): Obstacle => ({ reason: 'reserved-volume', detail })
