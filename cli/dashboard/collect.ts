/** Reads the cluster once, with the caller's permissions. Every request has a timeout; see `cluster/`. */
import type { V1Pod } from '@kubernetes/client-node'
import { messageOf } from '../../common/errors.ts'
import { KEYS } from '../../common/keys.ts'
import { metadataUsers } from '../audit/metadata-users.ts'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { findInstallation, type Installation } from '../cluster/installation.ts'
import { ownersOf } from '../cluster/owners.ts'
import { CliError } from '../failure.ts'
import { type NodeReport, reportNodes } from '../status/nodes.ts'
import { versionsOf } from '../status/versions.ts'
import { type Holder, holdersOf, injectedPods } from '../who/holders.ts'
import type { Expiries } from './expiries.ts'
import { refusalEvents, refusalsOf } from './refusals.ts'
import type { Audit, Fault, Snapshot } from './snapshot.ts'

/**
 * @param cluster for this update only, because it remembers what was refused
 * @param memory of previous updates
 * @throws {CliError} if the cluster does not answer at all
 */
export async function collect(cluster: Cluster, memory: Expiries, now = Date.now): Promise<Snapshot> {
  const installation = await findInstallation(cluster)
  const roleKey = installation.injection?.roleKey ?? KEYS.role
  const faults = new Map<string, Fault>()
  /** If one part fails, the rest is still shown. */
  const part = async <T>(look: Promise<T>): Promise<T | null> => {
    try {
      return await look
    } catch (error) {
      const fault = faultOf(error)
      faults.set(`${fault.code} ${fault.message}`, fault)
      return null
    }
  }
  const [nodes, pods, events] = await Promise.all([
    part(nodesIn(cluster, installation)),
    part(podsIn(cluster)),
    part(refusalEvents(cluster)),
  ])
  const [holders, audit] = await Promise.all([
    pods === null ? null : part(heldBy(cluster, installation, pods, memory, now)),
    nodes === null ? null : part(auditOf(cluster, nodes, roleKey, now())),
  ])
  return {
    takenAt: now(),
    context: cluster.config.getCurrentContext(),
    isInstalled: installation.isListable ? installation.namespace !== undefined : null,
    nodes,
    versions: pods === null ? null : versionsOf(installation, pods),
    pods: holders,
    refusals:
      events === null
        ? null
        : refusalsOf({ events, pods: pods ?? [], holders: holders ?? [], roleKey, now: now() }),
    audit,
    refused: cluster.refusals(),
    faults: [...faults.values()],
  }
}

export function faultOf(error: unknown): Fault {
  if (error instanceof CliError) return { code: error.code, message: error.message, remedy: error.remedy }
  return {
    code: 'unexpected',
    message: `this should not have happened: ${messageOf(error)}`,
    remedy: 'please report it',
  }
}

async function nodesIn(cluster: Cluster, installation: Installation): Promise<readonly NodeReport[] | null> {
  const { reports, isComplete } = await reportNodes(cluster, installation)
  return reports.length === 0 && !isComplete ? null : reports
}

async function podsIn(cluster: Cluster): Promise<readonly V1Pod[] | null> {
  return (await injectedPods(cluster, undefined)) ?? (await injectedPods(cluster, cluster.namespace)) ?? null
}

async function heldBy(
  cluster: Cluster,
  installation: Installation,
  pods: readonly V1Pod[],
  memory: Expiries,
  now: () => number,
): Promise<readonly Holder[]> {
  const due = memory.due(pods, now())
  const [asked, others] = await Promise.all(
    [true, false].map((isAsking) =>
      holdersOf(
        cluster,
        installation,
        pods.filter((pod) => due.has(pod) === isAsking),
        { isAsking, role: undefined, now },
      ),
    ),
  )
  const recalled = (others ?? []).map(memory.recall)
  memory.remember(asked ?? [], recalled, now())
  return [...(asked ?? []), ...recalled]
}

/** Null if no guard in audit mode reported. */
async function auditOf(
  cluster: Cluster,
  nodes: readonly NodeReport[],
  roleKey: string,
  now: number,
): Promise<Audit | null> {
  const auditing = nodes.filter(({ source, mode }) => source === 'guard' && mode === 'audit')
  if (auditing.length === 0) return null
  const { askAll, core } = cluster
  const [pods, namespaces] = await Promise.all([
    askAll({ verb: 'list', resource: 'pods' }, (query, options) =>
      core.listPodForAllNamespaces(query, options),
    ),
    askAll({ verb: 'list', resource: 'namespaces' }, (query, options) => core.listNamespace(query, options)),
  ])
  const byName = new Map((foundIn(namespaces) ?? []).map((one) => [one.metadata?.name ?? '', one]))
  const seen = await metadataUsers(auditing, foundIn(pods) ?? [], byName, ownersOf(cluster), roleKey, now)
  return { seen, auditing: auditing.length, others: nodes.length - auditing.length }
}
