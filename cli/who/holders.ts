/** Pods that have or will get a role: their identity in AWS, and where it comes from. */
import type { V1Pod } from '@kubernetes/client-node'
import { globMatches } from '../../common/glob.ts'
import type { IdentitySource } from '../../common/identity.ts'
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { Problem } from '../../common/protocol.ts'
import { parseSessionPolicies } from '../../common/session-policies.ts'
import { allAccounts, readAccount } from '../cluster/accounts.ts'
import { foundIn } from '../cluster/api-request.ts'
import { bounded } from '../cluster/bounded.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { brokerOf, type Installation } from '../cluster/installation.ts'
import { plainObject } from '../cluster/plain-object.ts'
import { credentialsLifetime } from '../cluster/sidecar.ts'
import { guardOf } from '../explain/node.ts'
import { mayStart, statusOf } from '../explain/start.ts'
import {
  type AccountRecord,
  accountRecord,
  type BrokerSettings,
  entitlementOf,
  entitlementSettings,
  type NamespaceRecord,
  namespaceRecord,
  type PodRecord,
  podRecord,
} from '../product/broker.ts'

/** How many sidecars are asked at a time: each costs a connection through the API server and a kubelet. */
const AT_ONCE = 10
/** A placeholder used if the real prefix of role names is not known: then only the session name is used. */
const ANY_BASE = 'arn:aws:iam::000000000000:role/'

export type Holder = {
  readonly namespace: string
  readonly pod: string
  readonly node: string | null
  readonly serviceAccount: string
  /** The full ARN if it is known, otherwise the text of the annotation; null without a role. */
  readonly role: string | null
  /** `annotation` of the pod, `service-account` of the pod, `default` of its namespace or the cluster, `none`: only Region and placement. */
  readonly source: IdentitySource
  /** ARNs of the managed policies that narrow its session; empty: it has all permissions of the role. */
  readonly narrowedBy: readonly string[]
  /** The name in CloudTrail; null if the broker would now refuse it. */
  readonly session: string | null
  /** Code with which the broker would now refuse; null if it would not. */
  readonly refused: string | null
  readonly ready: boolean
  /** ISO 8601; null if the sidecar has no credentials or was not asked. */
  readonly expires: string | null
  readonly isAsked: boolean
}

/** Pods that were injected, in one namespace or in the cluster. */
export async function injectedPods(
  { askAll, core }: Cluster,
  namespace: string | undefined,
): Promise<readonly V1Pod[] | undefined> {
  // It does not matter who wrote the label: what counts is the content of the sidecar.
  const labelSelector = `${KEYS.injected}=true`
  const asked = { verb: 'list', resource: 'pods', namespace } as const
  return foundIn(
    await askAll(asked, (query, options) =>
      namespace === undefined
        ? core.listPodForAllNamespaces({ labelSelector, ...query }, options)
        : core.listNamespacedPod({ namespace, labelSelector, ...query }, options),
    ),
  )
}

export type HolderOptions = {
  /** Whether to ask sidecars when their credentials expire. */
  readonly isAsking: boolean
  /** Glob that matches the role's ARN or its name. */
  readonly role: string | undefined
  /** Milliseconds since 1970. */
  readonly now: () => number
}

export async function holdersOf(
  cluster: Cluster,
  installation: Installation,
  pods: readonly V1Pod[],
  options: HolderOptions,
): Promise<Holder[]> {
  const roleKey = installation.injection?.roleKey ?? KEYS.role
  const alive = pods.filter(({ status }) => status?.phase !== 'Succeeded' && status?.phase !== 'Failed')
  const records = alive.flatMap((pod) => {
    const record = podRecord(plainObject(pod), roleKey)
    return record?.identity === undefined ? [] : [{ pod, record, identity: record.identity }]
  })
  const namespaces = await readNamespaces(cluster, new Set(records.map(({ record }) => record.namespace)))
  const mayNameRoles = installation.guards.some((guard) => brokerOf(guard)?.serviceAccountRoles)
  const accounts = mayNameRoles ? await readAccounts(cluster, records) : NO_ACCOUNTS
  const held = records
    .map(({ pod, record, identity }) => {
      const guard = guardOf(installation, record.nodeName || undefined) ?? installation.guards[0]
      const broker = guard === undefined ? undefined : brokerOf(guard)
      const base = broker?.baseRoleArn ?? installation.injection?.policy.base
      return {
        pod,
        source: identity.source,
        record,
        ...decisionFor(record, namespaces, accounts, broker, base),
      }
    })
    .filter(({ role }) => options.role === undefined || isRole(options.role, role))
  return bounded(held, AT_ONCE, async ({ pod, record, source, ...decision }) => {
    const place = { namespace: record.namespace, name: record.name }
    const life = options.isAsking && runs(pod) ? await credentialsLifetime(cluster, place) : undefined
    const seconds = life?.kind === 'reached' ? life.value : undefined
    return {
      namespace: record.namespace,
      pod: record.name,
      node: record.nodeName || null,
      serviceAccount: record.serviceAccount,
      ...decision,
      source,
      ready: seconds === undefined ? mayStart(pod) : seconds > 0,
      expires: seconds ? new Date(options.now() + seconds * 1000).toISOString() : null,
      isAsked: seconds !== undefined,
    }
  })
}

type Decision = Pick<Holder, 'role' | 'narrowedBy' | 'session' | 'refused'>

/** The broker's own decision; see `entitlementOf`. */
function decisionFor(
  record: PodRecord,
  namespaces: ReadonlyMap<string, NamespaceRecord>,
  accounts: Accounts,
  broker: BrokerSettings | undefined,
  base: string | undefined,
): Decision {
  const written = record.identity?.role ?? null
  if (broker === undefined)
    return { role: written, narrowedBy: writtenPolicies(record), session: null, refused: null }
  try {
    const roles = { base: base ?? ANY_BASE, own: [] }
    const namespace = namespaces.get(record.namespace)
    const { request } = entitlementOf(record, namespace, roles, entitlementSettings(broker), accounts(record))
    return {
      role: request.roleArn.startsWith(ANY_BASE)
        ? (written ?? request.roleArn.slice(ANY_BASE.length))
        : request.roleArn,
      narrowedBy: request.policyArns,
      session: request.sessionName,
      refused: null,
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const isNone = error.code === 'role-not-set'
    const role = isNone ? null : written
    return { role, narrowedBy: writtenPolicies(record), session: null, refused: isNone ? null : error.code }
  }
}

type Accounts = (pod: PodRecord) => AccountRecord
/** If they do not count, or may not be read. */
const NO_ACCOUNTS: Accounts = () => ({ exists: true, list: undefined })

/** Accounts that may not be read narrow nothing here, and the end of the output says so. */
async function readAccounts(
  cluster: Cluster,
  records: readonly { readonly record: PodRecord }[],
): Promise<Accounts> {
  const [first] = records
  if (records.length !== 1 || first === undefined) {
    const all = await allAccounts(cluster)
    return all === undefined
      ? NO_ACCOUNTS
      : ({ namespace, serviceAccount }) =>
          accountRecord({ metadata: all.get(`${namespace}/${serviceAccount}`) })
  }
  const { namespace, serviceAccount } = first.record
  const one = await readAccount(cluster, namespace, serviceAccount)
  return one.kind === 'forbidden' ? NO_ACCOUNTS : () => accountRecord({ metadata: foundIn(one) })
}

function writtenPolicies({ identity }: PodRecord): readonly string[] {
  const parsed = parseSessionPolicies(identity?.sessionPolicies ?? '', undefined)
  return parsed.ok ? parsed.arns : []
}

async function readNamespaces(
  { ask, askAll, core }: Cluster,
  names: ReadonlySet<string>,
): Promise<Map<string, NamespaceRecord>> {
  const [first] = names
  const read =
    names.size === 1 && first !== undefined
      ? await ask({ verb: 'get', resource: 'namespaces', namespace: first }, async (options) => [
          await core.readNamespace({ name: first }, options),
        ])
      : await askAll({ verb: 'list', resource: 'namespaces' }, (query, options) =>
          core.listNamespace(query, options),
        )
  const records = (foundIn(read) ?? []).flatMap((one) => namespaceRecord(plainObject(one)) ?? [])
  return new Map(records.map((one) => [one.name, one]))
}

/** Whether a glob matches the role's ARN, its name with path, or its name. */
export function isRole(glob: string, role: string | null): boolean {
  if (role === null) return false
  const name = role.replace(/^arn:[^/]*\//, '')
  return [role, name, name.slice(name.lastIndexOf('/') + 1)].some((one) => globMatches(glob, one))
}

const runs = (pod: V1Pod) => statusOf(pod, SIDECAR_CONTAINER)?.state?.running !== undefined
