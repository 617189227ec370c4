/** Names that only the injector gives to containers and volumes. What stands under them, `form/foreign-content.ts` judges. */
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import type { Container, Pod } from './pod.ts'
import type { Obstacle } from './unsupported.ts'

/** Every name of ours begins so; the match conditions of the webhook configurations say the same. */
const PREFIX = 'pod2iam-'

/** Whether a name is one that only the injector gives. */
export const isReserved = ({ name }: { readonly name: string }): boolean => name.startsWith(PREFIX)

/** The two containers that are ours. */
export type Kind = typeof SIDECAR_CONTAINER | typeof GATE_CONTAINER

/** Which of ours a container is, by name alone. */
export function kindOf({ name }: { readonly name: string }): Kind | undefined {
  return name === SIDECAR_CONTAINER || name === GATE_CONTAINER ? name : undefined
}

/** By name alone; `foreignContent` judges whether the content is ours, too. */
export const isOurs = (container: { readonly name: string }): boolean => kindOf(container) !== undefined

/**
 * What stands under a reserved name in a pod that the injector adds nothing to. The broker knows a sidecar by its
 * name and env, so in such a pod it can only be a forged one, and no annotation may keep it from being seen.
 *
 * @param matches which names are looked for; by default all that begin as ours do
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

/** The container of ours that a pod has, which `foreignContent` has shown to be there at most once. */
export function ownContainer({ spec }: Pod, kind: Kind): Container | undefined {
  return spec.initContainers?.find(({ name }) => name === kind)
}

export const reservedContainer = (detail: string): Obstacle => ({ reason: 'reserved-container', detail })
export const reservedVolume = (detail: string): Obstacle => ({ reason: 'reserved-volume', detail })
