/**
 * The service accounts of this node's pods, for their own lists of allowed roles. They are read one by one when a pod asks, and not
 * watched: a watch would send the service accounts of the whole cluster to every node, and needs the permission to list them.
 */
import type { V1ServiceAccount } from '@kubernetes/client-node'
import type { SteadyClock } from '../../../common/clock.ts'
import { KEYS } from '../../../common/keys.ts'
import { type Kube, KubeError } from '../../../common/kube/client.ts'
import { MAX_ACCOUNT_LIST } from '../../../common/policy.ts'
import { Problem } from '../../../common/protocol.ts'
import { limitedReader } from './limited-reader.ts'
import type { PodRecord } from './pod.ts'

/** The part of a service account that policy needs. */
export type AccountRecord = {
  readonly exists: boolean
  /** Its annotation `allowed-roles`. */
  readonly list: string | undefined
}

/** Identifies a service account. */
export type AccountId = Pick<PodRecord, 'namespace' | 'serviceAccount'>

/** Whether a pod uses this account. */
export const isOfAccount = (pod: AccountId | undefined, { namespace, serviceAccount }: AccountId) =>
  pod?.namespace === namespace && pod.serviceAccount === serviceAccount

export type ServiceAccounts = ReturnType<typeof serviceAccounts>

/** How long an answer is used. Changes of namespaces, whose watch may lag, can take longer to be noticed. */
const FRESH_MS = 10_000
/** How long an answer is used if the API server does not respond: as long as its token signing keys (`authenticate/keys.ts`). */
const MAX_AGE_MS = 24 * 3_600_000
/** Twice the kubelet's largest common limit of pods on a node. */
const MAX_ACCOUNTS = 512
/** In place of every longer list, so that it is refused for its length. A part of such a list would keep all of it in memory. */
const TOO_LONG = ' '.repeat(MAX_ACCOUNT_LIST + 1)

/** Projects a service account as the API server sends it; undefined stands for one that does not exist. */
export function accountRecord(object: unknown): AccountRecord {
  const { metadata } = (object ?? {}) as V1ServiceAccount
  const list = metadata?.annotations?.[KEYS.allowedRoles]
  const isTooLong = list !== undefined && list.length > MAX_ACCOUNT_LIST
  return { exists: metadata?.name !== undefined, list: isTooLong ? TOO_LONG : list }
}

type Known = { readonly record: AccountRecord; readonly at: number }

export function serviceAccounts(kube: Pick<Kube, 'get'>, clock: SteadyClock) {
  // Separate limits, so that these reads do not delay those of pods and namespaces.
  const live = limitedReader(kube, clock)
  const listeners: ((account: AccountId) => void)[] = []
  const known = new Map<string, Known>()
  const keyOf = ({ namespace, serviceAccount }: AccountId) => `${namespace}/${serviceAccount}`
  const youngerThan = (age: number, key: string) => {
    const one = known.get(key)
    return one !== undefined && clock.monotonic() - one.at < age ? one.record : undefined
  }
  const ask = async (pod: AccountId, key: string): Promise<AccountRecord> => {
    const path = `/api/v1/namespaces/${pod.namespace}/serviceaccounts/${pod.serviceAccount}`
    const at = clock.monotonic()
    const record = accountRecord(await live.read(path, '', pod.namespace))
    const before = known.get(key)?.record
    remember(known, key, { record, at })
    if (before?.list !== record.list || before?.exists !== record.exists)
      for (const onChange of listeners) onChange(pod)
    return record
  }
  const read = async (pod: AccountId): Promise<AccountRecord> => {
    const key = keyOf(pod)
    const fresh = youngerThan(FRESH_MS, key)
    if (fresh) return fresh
    try {
      return await ask(pod, key)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const last = isUnanswered(error) ? youngerThan(MAX_AGE_MS, key) : undefined
      if (last) return last
      throw explained(error, pod)
    }
  }
  const get = (pod: AccountId) => youngerThan(MAX_AGE_MS, keyOf(pod))
  return {
    /** The account as it was last read, or undefined. */
    get,
    /** The account as it is now, or was a few seconds ago. @throws {Problem} `busy` if that is not known */
    read,
    /** Reads an account that is not known yet, for decisions that are made without waiting. */
    load: (pod: AccountId) => {
      // The request that needs the account gets the error.
      if (get(pod) === undefined) read(pod).catch(() => {})
    },
    /** @param onChange called with every account that was read and has changed */
    subscribe: (onChange: (account: AccountId) => void) => void listeners.push(onChange),
  }
}

/** Whether the API server was unavailable. A refusal is an answer, and a pod that asks too often is not served from old answers. */
function isUnanswered({ cause }: Problem): boolean {
  return cause !== undefined && !(cause instanceof KubeError && cause.status < 500 && cause.status !== 429)
}

/** The namespace with the most accounts loses its oldest, so that a tenant whose pods come and go only makes the broker forget its own. */
function remember(known: Map<string, Known>, key: string, value: Known): void {
  known.delete(key)
  known.set(key, value)
  if (known.size <= MAX_ACCOUNTS) return
  const namespaceOf = (one: string) => one.slice(0, one.indexOf('/'))
  const counts = new Map<string, number>()
  for (const one of known.keys()) counts.set(namespaceOf(one), (counts.get(namespaceOf(one)) ?? 0) + 1)
  const most = Math.max(...counts.values())
  for (const one of known.keys())
    if (counts.get(namespaceOf(one)) === most) {
      known.delete(one)
      return
    }
}

function explained({ cause, message }: Problem, { namespace, serviceAccount }: AccountId): Problem {
  const account = `service account ${namespace}/${serviceAccount}`
  if (!(cause instanceof KubeError && cause.status === 403))
    return new Problem(
      'busy',
      `${account} could not be read, which may narrow the roles of its pods: ${message}`,
      {
        retryAfter: 2,
      },
    )
  return new Problem(
    'busy',
    `${account} may not be read, which may narrow the roles of its pods: let the broker get serviceaccounts (verb get, resource ` +
      'serviceaccounts, which the chart grants with policy.serviceAccountRoles=true)',
    { retryAfter: 30 },
  )
}
