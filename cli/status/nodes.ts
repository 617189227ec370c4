/** Each node of the cluster: whether its block is in place and its broker answers, as its guard reports it. */
import type { V1Node, V1Pod } from '@kubernetes/client-node'
import { bounded } from '../cluster/bounded.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { PodAnswer } from '../cluster/exec.ts'
import { guardStatus } from '../cluster/guard-status.ts'
import type { Installation } from '../cluster/installation.ts'
import { guardOf } from '../explain/node.ts'
import { lastError, statusOf } from '../explain/start.ts'
import type { Status } from '../product/guard.ts'
import { releaseOf } from './versions.ts'

/** How many guards are asked at a time: each costs a connection through the API server and a process on its node. */
const AT_ONCE = 10

type NodeProblem = { readonly code: string; readonly detail: string }

export type NodeReport = {
  readonly node: string
  /** `namespace/name` of the guard's pod. */
  readonly guard: string | null
  readonly version: string | null
  /** `guard`: reported by the guard itself; `api`: its container could not be entered, so taken from the probes of its pod. */
  readonly source: 'guard' | 'api'
  readonly mode: string
  readonly backend: string
  /** Null if the guard could not be asked. */
  readonly verified: boolean | null
  readonly broker: 'ready' | 'not ready'
  readonly refusedPackets: number | null
  readonly repairs: number | null
  readonly leftovers: Status['leftovers']
  readonly audit: Status['audit']
  /** Pods on the host network; null if the guard does not observe them. */
  readonly hostNetwork: Status['hostNetwork']
  /** Why pods on the node get no credentials, or why all of them can get those of the node. */
  readonly troubles: readonly NodeProblem[]
  readonly warnings: readonly NodeProblem[]
}

export type Nodes = { readonly reports: readonly NodeReport[]; readonly isComplete: boolean }

/** Asks all guards; nodes without a guard are included if nodes may be listed. */
export async function reportNodes(cluster: Cluster, installation: Installation): Promise<Nodes> {
  const { askAll, core } = cluster
  const listed = await askAll({ verb: 'list', resource: 'nodes' }, (query, options) =>
    core.listNode(query, options),
  )
  const nodes = listed.kind === 'found' ? listed.value.filter(isOurs) : []
  const named = nodes.map(({ metadata }) => metadata?.name ?? '')
  const guarded = installation.guards.flatMap(({ spec }) => (spec?.nodeName ? [spec.nodeName] : []))
  const names = [...new Set([...named, ...guarded])].sort()
  const reports = await bounded(names, AT_ONCE, async (name) => {
    const guard = guardOf(installation, name)
    return guard === undefined ? withoutGuard(name) : reportOf(name, guard, await guardStatus(cluster, guard))
  })
  return { reports, isComplete: listed.kind === 'found' && installation.isListable }
}

/** Windows and Fargate nodes run no guard. */
function isOurs({ metadata }: V1Node): boolean {
  const labels = metadata?.labels ?? {}
  return labels['kubernetes.io/os'] !== 'windows' && labels['eks.amazonaws.com/compute-type'] !== 'fargate'
}

function withoutGuard(node: string): NodeReport {
  const detail =
    'it has no node guard, so its pods can reach the metadata service of the node, and none gets credentials'
  return {
    ...{ node, guard: null, version: null, source: 'api', mode: 'none', backend: 'none', verified: false },
    ...{ broker: 'not ready', refusedPackets: null, repairs: null, leftovers: [], audit: [], warnings: [] },
    hostNetwork: null,
    troubles: [{ code: 'guard-missing', detail }],
  }
}

function reportOf(node: string, guard: V1Pod, answer: PodAnswer<Status>): NodeReport {
  const status = answer.kind === 'reached' ? answer.value : undefined
  const unready = (['firewall', 'broker'] as const).filter((name) => statusOf(guard, name)?.ready !== true)
  const troubles = unready.map((name) => notReady(guard, name))
  const isSilent = status !== undefined && !status.verified
  const [first, ...more] = status?.warnings ?? []
  const unverified = {
    code: 'node-unguarded',
    detail: 'the guard has not verified its block, and gives no reason',
  }
  return {
    node,
    guard: `${guard.metadata?.namespace}/${guard.metadata?.name}`,
    version: releaseOf(guard, 'firewall'),
    source: status === undefined ? 'api' : 'guard',
    mode: status?.mode ?? 'unknown',
    backend: status?.backend ?? 'unknown',
    verified: status?.verified ?? (unready.includes('firewall') ? false : null),
    broker: unready.includes('broker') ? 'not ready' : 'ready',
    refusedPackets: status?.refusedPackets ?? null,
    repairs: status?.repairs ?? null,
    leftovers: status?.leftovers ?? [],
    audit: status?.audit ?? [],
    hostNetwork: status?.hostNetwork ?? null,
    troubles: [...(isSilent ? [first ?? unverified] : []), ...troubles],
    warnings: [
      ...(isSilent ? more : (status?.warnings ?? [])),
      ...(answer.kind === 'failed' ? [{ code: 'guard-not-asked', detail: answer.detail }] : []),
      ...(status?.leftovers ?? []).map(({ kind, remove }) => ({
        code: 'leftover',
        detail: `a rule of ${kind} redirects traffic to the metadata service; to remove it, on the node: ${remove}`,
      })),
    ],
  }
}

function notReady(guard: V1Pod, container: 'firewall' | 'broker'): NodeProblem {
  const status = statusOf(guard, container)
  const why = lastError(status) ?? status?.state?.waiting?.reason ?? 'its probe fails'
  const { namespace, name } = guard.metadata ?? {}
  return {
    code: container === 'broker' ? 'broker-not-ready' : 'guard-not-ready',
    detail: `${container} is not ready: ${why}; kubectl -n ${namespace} logs ${name} -c ${container}`,
  }
}
