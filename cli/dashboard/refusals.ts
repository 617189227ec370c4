/** Refusals: by admission, reported on the workload; by the broker or during the start, reported on the pod; and those that the broker would make now. */
import type { CoreV1Event, V1Pod } from '@kubernetes/client-node'
import type { Cluster } from '../cluster/cluster.ts'
import { podEventOf } from '../explain/credentials.ts'
import { remedyFor } from '../explain/remedies.ts'
import type { Holder } from '../who/holders.ts'
import type { Refusal } from './snapshot.ts'

/** Limit for each kind, in one request: anyone who may create Events can create many. */
const MAX_EVENTS = 500
/** The broker reports a persistent refusal every five minutes (node-guard/broker/audit/events.ts). */
const PAST_MS = 10 * 60_000
const MAX_CHARACTERS = 1500

const SELECTORS = [
  'reportingComponent=pod2iam.dev/broker',
  'reportingComponent=pod2iam.dev/injector',
  'reason=FailedCreate',
] as const

/**
 * Names in the commands that people copy. The author of an Event chooses the names in it, which the API server does not check:
 * an Event whose name is not a valid object name (RFC 1123) is not shown.
 */
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/
const KIND = /^[A-Za-z]{1,40}$/

/** Events of the cluster or, if they may not be listed, of the context's namespace; null if neither is allowed. */
export async function refusalEvents(cluster: Cluster): Promise<readonly CoreV1Event[] | null> {
  const { core, namespace } = cluster
  const lists = SELECTORS.map(async (fieldSelector) => {
    const query = { fieldSelector, limit: MAX_EVENTS }
    const asked = { verb: 'list', resource: 'events' } as const
    const all = await cluster.ask(asked, (options) => core.listEventForAllNamespaces(query, options))
    if (all.kind === 'found') return all.value.items
    const own = await cluster.ask({ ...asked, namespace }, (options) =>
      core.listNamespacedEvent({ namespace, ...query }, options),
    )
    return own.kind === 'found' ? own.value.items : undefined
  })
  const found = (await Promise.all(lists)).filter((one) => one !== undefined)
  return found.length === 0 ? null : found.flat()
}

export type RefusalInput = {
  readonly events: readonly CoreV1Event[]
  /** Pods with a sidecar, and what is known about them. */
  readonly pods: readonly V1Pod[]
  readonly holders: readonly Holder[]
  readonly roleKey: string
  /** Milliseconds since 1970. */
  readonly now: number
}

/** Newest first, at most one per pod or workload and code. */
export function refusalsOf({ events, pods, holders, roleKey, now }: RefusalInput): Refusal[] {
  const uids = new Set(pods.map(({ metadata }) => metadata?.uid))
  const well = new Set(holders.filter((one) => one.ready && one.refused === null).map(keyOf))
  const reported = events.flatMap((event): Refusal[] => {
    const { kind = '', name = '', namespace = '', uid } = event.involvedObject
    if (!NAME.test(name) || !NAME.test(namespace) || !KIND.test(kind)) return []
    const { code, note, at } = podEventOf(event)
    const common = { namespace, kind, name, at: new Date(at).toISOString() }
    if (event.reason === 'FailedCreate') return ofAdmission(common, note)
    const isPast = well.has(`${namespace}/${name}`) && now - at > PAST_MS
    if (kind !== 'Pod' || !uids.has(uid) || isPast) return []
    return [
      {
        ...common,
        ...{ code, detail: note.slice(0, MAX_CHARACTERS) },
        ...{ remedy: remedyFor(code, { namespace, pod: name, roleKey }), command: explain(namespace, name) },
      },
    ]
  })
  const known = new Set(reported.map(({ namespace, name, code }) => `${namespace}/${name} ${code}`))
  const current = holders.flatMap((one) =>
    known.has(`${keyOf(one)} ${one.refused}`) ? [] : ofBroker(one, roleKey),
  )
  const newest = reported.toSorted((one, other) => (other.at ?? '').localeCompare(one.at ?? ''))
  const each = Map.groupBy(
    [...current, ...newest],
    (one) => `${one.kind} ${one.namespace}/${one.name} ${one.code}`,
  )
  return [...each.values()].flatMap(([first]) => first ?? [])
}

const keyOf = ({ namespace, pod }: Holder) => `${namespace}/${pod}`
const explain = (namespace: string, target: string) => `pod2iam -n ${namespace} explain ${target}`

/** `Error creating: admission webhook "…" denied the request: pod2iam: <sentence>`, or the same from a policy. */
function ofAdmission(common: Pick<Refusal, 'namespace' | 'kind' | 'name' | 'at'>, note: string): Refusal[] {
  const sentence = /pod2iam: (.+)$/s.exec(note)?.[1]
  if (sentence === undefined) return []
  return [
    {
      ...common,
      code: 'pods-refused',
      detail: sentence.slice(0, MAX_CHARACTERS),
      remedy: "correct what the message names in the workload's template or its namespace",
      command: explain(common.namespace, `${common.kind.toLowerCase()}/${common.name}`),
    },
  ]
}

function ofBroker({ namespace, pod, refused }: Holder, roleKey: string): Refusal[] {
  if (refused === null) return []
  return [
    {
      ...{ namespace, kind: 'Pod', name: pod, code: refused, at: null },
      detail: 'because of its annotations or those of its namespace, the broker refuses it new credentials',
      remedy: remedyFor(refused, { namespace, pod, roleKey }),
      command: explain(namespace, pod),
    },
  ]
}
