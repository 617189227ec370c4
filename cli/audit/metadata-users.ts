/** Who uses the metadata service, on all nodes in audit mode: workloads, if the address belongs to a pod. */
import type { V1Namespace, V1Pod } from '@kubernetes/client-node'
import { injectionMode, KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { bounded } from '../cluster/bounded.ts'
import type { Owner, Owners } from '../cluster/owners.ts'
import type { Sighting } from '../product/guard.ts'
import type { NodeReport } from '../status/nodes.ts'

/** The kernel records in whole seconds when it saw an address. */
const CLOCK_MS = 2000
/** An address without a pod belongs to a Job between two runs, or is no longer used. */
const FORGOTTEN_MS = 24 * 60 * 60 * 1000

export type MetadataUser = {
  /** Null if no pod has the address any more. */
  readonly workload: Owner | null
  readonly addresses: readonly string[]
  readonly nodes: readonly string[]
  /** `dnat`: through kube2iam or kiam; `direct`: past them, so with the node's own role. */
  readonly via: Sighting['via']
  readonly packets: number
  /** ISO 8601, since the start of its node's guard; null if that is of a release that does not report it. */
  readonly firstSeen: string | null
  /** ISO 8601. */
  readonly lastSeen: string
  /** What has to be done so that it is not refused. */
  readonly todo: { readonly code: string; readonly detail: string }
}

export async function metadataUsers(
  reports: readonly NodeReport[],
  pods: readonly V1Pod[],
  namespaces: ReadonlyMap<string, V1Namespace>,
  ownerOf: Owners,
  roleKey: string,
  now: number,
): Promise<MetadataUser[]> {
  const podsAt = Map.groupBy(
    pods
      .filter(({ spec, status }) => spec?.hostNetwork !== true && !hasEnded(status?.phase))
      .flatMap((pod) => (pod.status?.podIPs ?? []).map(({ ip = '' }) => ({ ip, pod }))),
    ({ ip }) => ip,
  )
  const sightings = reports
    .flatMap(({ node, audit }) => audit.map((one) => ({ node, ...one })))
    .map((one) => {
      const at = Date.parse(one.lastSeen)
      // A later pod may have the address of one that sent requests.
      const pod = podsAt.get(one.address)?.find((had) => startOf(had.pod) <= at + CLOCK_MS)?.pod
      return { ...one, at, pod }
    })
    // A gate's proof is such a request too.
    .filter(({ pod }) => pod === undefined || !hasSidecar(pod))
    .filter(({ at, pod }) => pod !== undefined || now - at < FORGOTTEN_MS)
  const each = await bounded(sightings, 10, async ({ pod, ...one }): Promise<MetadataUser> => {
    return {
      workload: pod === undefined ? null : await ownerOf(pod),
      addresses: [one.address],
      nodes: [one.node],
      ...{ via: one.via, packets: one.packets },
      ...{ firstSeen: one.firstSeen ?? null, lastSeen: one.lastSeen },
      todo: pod === undefined ? GONE : todoFor(pod, namespaces.get(pod.metadata?.namespace ?? ''), roleKey),
    }
  })
  const groups = Map.groupBy(each, ({ workload, via, addresses, todo }) =>
    JSON.stringify([workload ?? addresses, via, todo.code]),
  )
  return [...groups.values()].map(merged).sort((one, other) => nameOf(one).localeCompare(nameOf(other)))
}

/** Addresses without a workload come last. */
const nameOf = ({ workload, addresses }: MetadataUser) =>
  workload === null ? `~${addresses}` : `${workload.namespace} ${workload.kind} ${workload.name}`
const startOf = ({ status }: V1Pod) => status?.startTime?.getTime() ?? 0
const hasSidecar = ({ spec }: V1Pod) =>
  spec?.initContainers?.some(({ name }) => name === SIDECAR_CONTAINER) === true
const hasEnded = (phase: string | undefined) => phase === 'Succeeded' || phase === 'Failed'

const GONE = {
  code: 'address-gone',
  detail: 'no pod has this address any more; it leaves this list a day after it was last seen',
}

function todoFor(pod: V1Pod, namespace: V1Namespace | undefined, roleKey: string): MetadataUser['todo'] {
  const { annotations = {}, namespace: name = '' } = pod.metadata ?? {}
  const role = annotations[roleKey]
  const isOptedIn = injectionMode(namespace?.metadata?.labels) !== undefined
  const label = `kubectl label namespace ${name} ${KEYS.injection}=enabled`
  if (role !== undefined && isOptedIn)
    return { code: 'restart', detail: `it names ${role} and its namespace has opted in: restart it` }
  if (role !== undefined) return { code: 'label', detail: `it names ${role}: ${label}, and restart it` }
  return {
    code: 'annotate',
    detail: `it names no role, so it uses the node's: annotate its template with ${roleKey}, or with ${KEYS.inject}: metadata`,
  }
}

function merged(group: readonly MetadataUser[]): MetadataUser {
  const [first] = group
  if (first === undefined) throw new Error('a group is never empty')
  const all = (what: 'addresses' | 'nodes') => [...new Set(group.flatMap((one) => one[what]))].sort()
  return {
    ...first,
    addresses: all('addresses'),
    nodes: all('nodes'),
    packets: group.reduce((sum, { packets }) => sum + packets, 0),
    firstSeen: group.flatMap(({ firstSeen }) => firstSeen ?? []).sort()[0] ?? null,
    lastSeen:
      group
        .map(({ lastSeen }) => lastSeen)
        .sort()
        .at(-1) ?? first.lastSeen,
  }
}
