/** Which releases run side by side. */
import type { V1Pod } from '@kubernetes/client-node'
import { KEYS } from '../../common/keys.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Installation } from '../cluster/installation.ts'

const UNKNOWN = 'unknown'

export type Versions = {
  readonly injector: Readonly<Record<string, number>>
  readonly nodeGuard: Readonly<Record<string, number>>
  /** Sidecars by the release that injected them. Pods outlive releases, so several releases are normal. */
  readonly sidecars: Readonly<Record<string, number>>
}

export async function readVersions(cluster: Cluster, installation: Installation): Promise<Versions> {
  const labelSelector = `${KEYS.injected}=true`
  const injected = await cluster.askAll({ verb: 'list', resource: 'pods' }, (query, options) =>
    cluster.core.listPodForAllNamespaces({ labelSelector, ...query }, options),
  )
  return versionsOf(installation, injected.kind === 'found' ? injected.value : [])
}

/** @param injected pods with a sidecar */
export function versionsOf({ injectors, guards }: Installation, injected: readonly V1Pod[]): Versions {
  return {
    injector: counted(injectors.map((pod) => releaseOf(pod, 'injector'))),
    nodeGuard: counted(guards.map((pod) => releaseOf(pod, 'firewall'))),
    sidecars: counted(injected.map(injectedBy)),
  }
}

/**
 * The release of one of our pods, from the tag of its image; a digest alone does not show it. Pods have no label for it, because that
 * would replace all of them with every release.
 */
export function releaseOf({ spec }: V1Pod, container: string): string {
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])]
  const image = containers.find(({ name }) => name === container)?.image ?? ''
  return /:([\w][\w.-]{0,127})(?:@sha256:[0-9a-f]+)?$/.exec(image.replace(/^.*[/]/, ''))?.[1] ?? UNKNOWN
}

/** The status annotation that the injector wrote for people. */
function injectedBy({ metadata }: V1Pod): string {
  try {
    const { version } = JSON.parse(metadata?.annotations?.[KEYS.status] ?? '')
    return typeof version === 'string' ? version.slice(0, 40) : UNKNOWN
  } catch {
    return UNKNOWN
  }
}

/** Says that injector and node guard have different releases, which is normal during an upgrade; undefined if they have the same. */
export function skewOf({ injector, nodeGuard }: Versions): string | undefined {
  const releases = new Set([...Object.keys(injector), ...Object.keys(nodeGuard)])
  releases.delete(UNKNOWN)
  return releases.size > 1
    ? `injector and node guards have releases ${[...releases].sort().join(' and ')}: an upgrade is in progress or incomplete`
    : undefined
}

function counted(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names.toSorted()) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
