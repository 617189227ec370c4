import { BROKER_PORT } from '../../../common/addresses.ts'
import type { HostPod } from '../../../common/host-pods.ts'
import type { Logger } from '../../../common/log.ts'
import { type Failed, failed } from '../../../common/result.ts'
import { BROKER_PORT_COUNTER, type HostNetworkRuleset, PROOF_COUNTER } from '../rules/host-network.ts'
import type { HostNetwork } from '../status/status.ts'
import type { HostNetworkBackend, HostPackets } from './backend.ts'
import { cgroupId, findPodCgroup, type PodCgroups, podCgroups } from './cgroups.ts'
import { counterOf, createHostCounts } from './counts.ts'

/** With the time of the last check, milliseconds. */
type HostNetworkState = HostNetwork & { readonly checkedAt: number }

type ReconcilerOptions = {
  /** By preference; the first that can load the rules is kept. */
  readonly backends: readonly HostNetworkBackend[]
  readonly mode: 'audit' | 'block'
  readonly metadata: readonly string[]
  readonly broker: readonly string[]
  /** Content of `/proc/self/cgroup`. */
  readonly self: () => Promise<string>
  readonly readPods: () => Promise<{ readonly ok: true; readonly pods: readonly HostPod[] } | Failed>
  /** See `sendProofs`. */
  readonly prove: (addresses: readonly string[]) => Promise<number>
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

/** For so long after a failure to load, refused pods have no rules of their own. */
const REDUCED_MS = 10_000
/** So often at most it is logged that a pod has the broker's port. */
const LOG_THIEF_MS = 60_000

const NOT_LOADED = 'the rules have not been loaded yet'

type PodWithCgroup = HostPod & { readonly path: string; readonly id: number }
type Wanted = {
  /** Differs where the rules do, or the id of a cgroup that they name. */
  readonly key: string
  readonly rules: HostNetworkRuleset
  /** The pods that have a rule each. */
  readonly pods: readonly PodWithCgroup[]
  /** Why the current list of pods cannot be read, so that an earlier one is used. */
  readonly old: string | undefined
}
/** `own`: the cgroup of our own pod, where only the list of pods is missing. */
type Unknown = Failed & { readonly own?: string }

/** Reconciles the rules about pods on the host network with what they should be. `check` never throws. Not to be called while it runs. */
export function createHostNetworkReconciler(options: ReconcilerOptions) {
  const { mode, now, log } = options
  const want = rulesWanted(options)
  const counts = createHostCounts(now)
  const rules = rulesInKernel(options, counts)
  let repairs = 0
  let hasFailedToLoad = false
  let reducedUntil = 0
  let verdict: Pick<HostNetworkState, 'verified' | 'checkedAt' | 'detail'> = {
    verified: false,
    checkedAt: now(),
    detail: NOT_LOADED,
  }

  const conclude = (detail: string | undefined) => {
    if (detail !== undefined && detail !== verdict.detail) log.error('host network not verified', { detail })
    if (detail === undefined && !verdict.verified)
      log.info('host network rules verified', {
        ...{ mode, backend: rules.chosen()?.name, pods: rules.loaded()?.pods.length },
      })
    verdict = { verified: detail === undefined, checkedAt: now(), detail }
  }

  /** `onlyAllowed`: without the rules that only count what a pod sends that is refused in any case. */
  const check = async (whole: boolean, onlyAllowed = false): Promise<string | undefined> => {
    let wanted = await want(onlyAllowed)
    if (wanted.ok && rules.loaded()?.key === wanted.key) {
      const { why, differs } = await rules.judge(whole)
      if (!differs) return why ?? wanted.old
      wanted = await want(onlyAllowed)
      // A rule about a cgroup that is gone is listed differently, too; that is no change by another program.
      if (wanted.ok && rules.loaded()?.key === wanted.key) {
        repairs++
        log.warn('host network rules repaired', { detail: why })
      }
    }
    hasFailedToLoad = false
    if (!wanted.ok) return [wanted.detail, ...(await rules.admit(wanted.own))].join('; ')
    const failure = await rules.load(wanted)
    hasFailedToLoad = failure !== undefined
    return failure ?? (await rules.judge(true)).why ?? wanted.old
  }

  return {
    /** @param whole whether the rules may have been changed */
    check: async (whole: boolean) => {
      // A pod may go, and its cgroup with it, between looking and loading.
      const isReduced = now() < reducedUntil
      const why = (await check(whole, isReduced)) && (await check(true, isReduced))
      if (why === undefined || !hasFailedToLoad || isReduced) return conclude(why)
      // If tenants replace their pods all the time, a pod that is allowed must not wait for the rules about them.
      reducedUntil = now() + REDUCED_MS
      return conclude(await check(true, true))
    },
    /** How often to check where the rules are in a backend without notifications, milliseconds. */
    readEvery: () => rules.chosen()?.readEvery,
    state: (): HostNetworkState => ({
      mode,
      backend: rules.chosen()?.name,
      ...verdict,
      repairs,
      packets: { allowed: counts.packets(true), others: counts.packets(false), unknown: counts.other() },
      pods: counts.list(),
    }),
  }
}

/** Loads the rules by the first backend that can, and checks that the kernel has them as loaded and that they match the packets of pods. */
function rulesInKernel(options: ReconcilerOptions, counts: ReturnType<typeof createHostCounts>) {
  const { metadata, prove } = options
  const { chosen, load: loadFirst, admit: admitTo } = backendChoice(options)
  const logThief = thiefLogger(options)
  let loaded: ({ readonly packets: HostPackets } & Pick<Wanted, 'key' | 'pods'>) | undefined
  const load = async ({ key, rules, pods }: Wanted): Promise<string | undefined> => {
    const earlier = loaded?.pods ?? pods
    loaded = undefined
    const result = await loadFirst(rules)
    if (!result.ok) return result.detail
    if (result.before !== undefined) counts.take(result.before, earlier)
    loaded = { key, pods, packets: result.packets }
    return undefined
  }

  const admit = async (own: string | undefined): Promise<readonly string[]> =>
    own === undefined || loaded !== undefined ? [] : admitTo(own)

  /** Sends packets to prove that the rules match those of pods, and reads the rules back; without `whole` perhaps only their counters. */
  const judge = async (whole: boolean): Promise<{ readonly why?: string; readonly differs?: boolean }> => {
    const before = loaded?.packets[PROOF_COUNTER] ?? 0
    const sent = await prove(metadata)
    const backend = chosen()
    if (backend === undefined || loaded === undefined) return { why: NOT_LOADED, differs: true }
    const read = await backend.read(whole)
    if (!read.ok) return { why: read.detail }
    if (read.differs) return { why: `another program changed ${backend.what}`, differs: true }
    counts.take(read.packets, loaded.pods)
    logThief(read.packets, loaded.packets)
    loaded = { ...loaded, packets: read.packets }
    if ((read.packets[PROOF_COUNTER] ?? 0) - before >= sent) return {}
    if (!whole) return judge(true)
    return {
      why: 'the rules do not see the packets of pods: this container must be in the node’s cgroup namespace, and no other program may drop what is sent to the metadata service',
    }
  }
  return { load, admit, judge, loaded: () => loaded, chosen }
}

/** The backends, of which the first that can load the rules is kept for the life of the process. */
function backendChoice({ backends, log }: ReconcilerOptions) {
  let chosen: HostNetworkBackend | undefined
  let hasAdmitted = false
  const load = async (rules: HostNetworkRuleset) => {
    if (chosen !== undefined) return chosen.load(rules)
    const failures: string[] = []
    for (const backend of backends) {
      const result = await backend.load(rules)
      if (result.ok) {
        chosen = backend
        const why = failures.join('; ') || 'the first choice works'
        log.info('backend chosen', { backend: backend.name, why })
        return result
      }
      if (!result.unusable) return result
      failures.push(`${backend.name}: ${result.detail}`)
    }
    return failed(`no backend works on this node: ${failures.join('; ')}`)
  }
  /** Adds our own pod, once, to what an earlier process has left; returns why that was not possible. */
  const admit = async (own: string): Promise<readonly string[]> => {
    if (hasAdmitted) return []
    const failures: string[] = []
    let works = false
    for (const backend of backends) {
      // Reading its table makes the kernel load it, so only where nothing else can have been used.
      if (hasAdmitted || (works && backend.name === 'iptables-legacy')) break
      const result = await backend.admit(own)
      works ||= result.ok
      if (result.ok) hasAdmitted = result.admitted
      else if (!result.unusable) failures.push(result.detail)
    }
    return failures
  }
  return { load, admit, chosen: () => chosen }
}

/** Returns a function that logs, once a minute at most, that the rules have seen packets of a pod which has the broker's port. */
function thiefLogger({ mode, now, log }: ReconcilerOptions) {
  let logged = Number.NEGATIVE_INFINITY
  return (packets: HostPackets, before: HostPackets) => {
    if ((packets[BROKER_PORT_COUNTER] ?? 0) <= (before[BROKER_PORT_COUNTER] ?? 0)) return
    if (now() - logged < LOG_THIEF_MS) return
    logged = now()
    const done = mode === 'block' ? 'its connections are refused' : 'it receives the tokens of sidecars'
    log.error('broker port taken', {
      code: 'broker-port-taken',
      detail: `a pod on the host network listens on the broker's port ${BROKER_PORT}, and ${done}: find it on this node (ss -ltnp "sport = :${BROKER_PORT}") and delete it`,
    })
  }
}

/** Returns a function that determines which rules should be in the kernel now, or why that is not known. */
function rulesWanted({ metadata, broker, mode, self, readPods }: ReconcilerOptions) {
  let known: readonly HostPod[] | undefined
  return async (onlyAllowed: boolean): Promise<({ readonly ok: true } & Wanted) | Unknown> => {
    const place = podCgroups(await self())
    if (!place.ok) return place
    const list = await readPods()
    if (list.ok) known = list.pods
    // Without the list, all pods would be refused, also the network plugin on which the node depends.
    if (known === undefined && mode === 'block' && !list.ok) return { ...list, own: place.own }
    const root = await cgroupId(place.root)
    if (root === undefined)
      return failed(
        `the cgroup ${place.root} of all pods is not in /sys/fs/cgroup: mount the node's there, read-only`,
      )
    const found = (await podsWithCgroups(place, known ?? [])).filter(({ allowed }) => allowed || !onlyAllowed)
    const pods = found.map(({ path, uid, allowed }) => ({ cgroup: path, counter: counterOf(uid), allowed }))
    const rules = { metadata, broker, own: place.own, mode, root: place.root, pods }
    const key = JSON.stringify([rules, root, found.map(({ id }) => id)])
    return { ok: true, key, rules, pods: found, old: list.ok ? undefined : list.detail }
  }
}

/** The listed pods that have a cgroup, and our own pod, which needs the node's role whatever the list says. */
async function podsWithCgroups(
  { root, own }: PodCgroups,
  pods: readonly HostPod[],
): Promise<readonly PodWithCgroup[]> {
  const uid = /pod([0-9a-f_-]+)(?:\.slice)?$/.exec(own)?.[1]?.replaceAll('_', '-') ?? ''
  const ours = { uid, namespace: 'pod2iam', name: 'this-node-guard', allowed: true }
  const byCgroup = new Map<string, PodWithCgroup>()
  for (const pod of [ours, ...pods]) {
    const found = await findPodCgroup(root, pod.uid)
    if (found === undefined) continue
    // A uid that is listed twice is that of a static pod which another pod claims: if either of them is allowed, it stays allowed.
    const allowed = pod.allowed || byCgroup.get(found.path)?.allowed === true
    byCgroup.set(found.path, { ...pod, ...found, allowed })
  }
  return [...byCgroup.values()]
}
