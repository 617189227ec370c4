/** Filters. They are the query of the page's address, so that a view can be bookmarked and shared. */
import type { MetadataUser } from '../audit/metadata-users.ts'
import type { NodeReport } from '../status/nodes.ts'
import { type Holder, isRole } from '../who/holders.ts'
import type { Refusal, Snapshot } from './snapshot.ts'

const STATES = ['all', 'trouble'] as const

export type Filter = {
  /** Empty for all. */
  readonly namespace: string
  readonly node: string
  /** Glob on the role's ARN or name. */
  readonly role: string
  /** `trouble`: only what needs attention. */
  readonly state: (typeof STATES)[number]
}

export const NO_FILTER: Filter = { namespace: '', node: '', role: '', state: 'all' }
const MAX_LENGTH = 512

/** Parameters that are not filters are ignored. */
export function parseFilter(query: URLSearchParams): Filter {
  const text = (name: string) => (query.get(name) ?? '').trim().slice(0, MAX_LENGTH)
  return {
    namespace: text('namespace'),
    node: text('node'),
    role: text('role'),
    state: query.get('state') === 'trouble' ? 'trouble' : 'all',
  }
}

/** The address of the page with this filter: `./` or `./?namespace=shop`. */
export function addressOf(filter: Filter): string {
  const entries = Object.entries(filter).filter(([, value]) => value !== '' && value !== 'all')
  return entries.length === 0 ? './' : `./?${new URLSearchParams(entries)}`
}

/** The filtered snapshot. */
export function filtered(snapshot: Snapshot, filter: Filter): Snapshot {
  const { nodes, pods, refusals, audit } = snapshot
  const nodeOf = new Map((pods ?? []).map((one) => [`${one.namespace}/${one.pod}`, one]))
  return {
    ...snapshot,
    nodes: nodes?.filter((one) => keepsNode(one, filter)) ?? null,
    pods: pods?.filter((one) => keepsPod(one, filter)) ?? null,
    refusals:
      refusals?.filter((one) => keepsRefusal(one, nodeOf.get(`${one.namespace}/${one.name}`), filter)) ??
      null,
    audit: audit === null ? null : { ...audit, seen: audit.seen.filter((one) => keepsSeen(one, filter)) },
  }
}

export const hasProblem = (one: NodeReport) => one.verified === false || one.troubles.length > 0
export const isWaiting = (one: Holder) => !one.ready || one.refused !== null

const keepsNode = (one: NodeReport, { node, state }: Filter) =>
  (node === '' || one.node === node) && (state === 'all' || hasProblem(one) || one.warnings.length > 0)

const keepsPod = (one: Holder, { namespace, node, role, state }: Filter) =>
  (namespace === '' || one.namespace === namespace) &&
  (node === '' || one.node === node) &&
  (role === '' || isRole(role, one.role)) &&
  (state === 'all' || isWaiting(one))

/** A refused workload has no node and no role. */
const keepsRefusal = (one: Refusal, pod: Holder | undefined, { namespace, node, role }: Filter) =>
  (namespace === '' || one.namespace === namespace) &&
  (node === '' || pod?.node === node) &&
  (role === '' || (pod !== undefined && isRole(role, pod.role)))

const keepsSeen = ({ workload, nodes }: MetadataUser, { namespace, node }: Filter) =>
  (namespace === '' || workload?.namespace === namespace) && (node === '' || nodes.includes(node))
