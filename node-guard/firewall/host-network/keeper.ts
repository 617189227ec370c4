import type { HostPod } from '../../../common/host-pods.ts'
import type { Logger } from '../../../common/log.ts'
import { type Failed, failed } from '../../../common/result.ts'
import { type HostNetworkRuleset, PROOF_COUNTER } from '../rules/host-network.ts'
import type { HostNetworkBackend, HostPackets } from './backend.ts'
import { findPod, idOf, type PodCgroups, podCgroups } from './cgroups.ts'
import { counterOf, createHostCounts, type HostNetwork } from './counts.ts'

/** With the time of the last check, milliseconds. */
type HostNetworkState = HostNetwork & { readonly checkedAt: number }

type KeeperOptions = {
  /** By preference; the first that can load the rules is kept. */
  readonly backends: readonly HostNetworkBackend[]
  readonly mode: 'audit' | 'block'
  readonly metadata: readonly string[]
  /** Content of `/proc/self/cgroup`. */
  readonly self: () => Promise<string>
  readonly readPods: () => Promise<{ readonly ok: true; readonly pods: readonly HostPod[] } | Failed>
  /** See `sendProofs`. */
  readonly prove: (addresses: readonly string[]) => Promise<number>
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

const NOT_LOADED = 'the rules have not been loaded yet'

type Told = HostPod & { readonly path: string; readonly id: number }
type Wanted = {
  /** Differs where the rules do, or the id of a cgroup that they name. */
  readonly key: string
  readonly rules: HostNetworkRuleset
  readonly told: readonly Told[]
  /** What is wrong with the list of pods, so that an earlier one is used. */
  readonly old: string | undefined
}

/** Keeps the rules about pods on the host network. `check` never throws. Not to be called while it runs. */
export function createHostNetworkKeeper(options: KeeperOptions) {
  const { mode, now, log } = options
  const want = rulesWanted(options)
  const counts = createHostCounts(now)
  const rules = rulesInKernel(options, counts)
  let repairs = 0
  let verdict: Pick<HostNetworkState, 'verified' | 'checkedAt' | 'detail'> = {
    verified: false,
    checkedAt: now(),
    detail: NOT_LOADED,
  }

  const conclude = (detail: string | undefined) => {
    if (detail !== undefined && detail !== verdict.detail) log.error('host network not verified', { detail })
    if (detail === undefined && !verdict.verified)
      log.info('host network rules verified', {
        ...{ mode, backend: rules.chosen()?.name, pods: rules.loaded()?.told.length },
      })
    verdict = { verified: detail === undefined, checkedAt: now(), detail }
  }

  const check = async (whole: boolean): Promise<string | undefined> => {
    let wanted = await want()
    if (wanted.ok && rules.loaded()?.key === wanted.key) {
      const { why, differs } = await rules.judge(whole)
      if (!differs) return why ?? wanted.old
      wanted = await want()
      // The listing of a cgroup that is gone differs, too.
      if (wanted.ok && rules.loaded()?.key === wanted.key) {
        repairs++
        log.warn('host network rules repaired', { detail: why })
      }
    }
    if (!wanted.ok) return wanted.detail
    return (await rules.load(wanted)) ?? (await rules.judge(true)).why ?? wanted.old
  }

  return {
    /** @param whole whether the rules may have been changed */
    check: async (whole: boolean) => {
      // A pod may go, and its cgroup with it, between looking and loading.
      conclude((await check(whole)) && (await check(true)))
    },
    /** How often to check where the rules are in a backend without notifications, milliseconds. */
    readEvery: () => rules.chosen()?.readEvery,
    state: (): HostNetworkState => ({
      mode,
      backend: rules.chosen()?.name,
      ...verdict,
      repairs,
      packets: {
        allowed: counts.packets(true),
        others: counts.packets(false),
        unknown: counts.other(),
      },
      pods: counts.list(),
    }),
  }
}

/** The rules in the kernel, by the first backend that can load them: loads them, and judges whether they are as loaded and see pods. */
function rulesInKernel(
  { backends, metadata, prove, log }: KeeperOptions,
  counts: ReturnType<typeof createHostCounts>,
) {
  let chosen: HostNetworkBackend | undefined
  let loaded: ({ readonly packets: HostPackets } & Pick<Wanted, 'key' | 'told'>) | undefined
  /** Loads rules by the first backend that can, which is kept for the life of the process. */
  const loadFirst = async (rules: HostNetworkRuleset) => {
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
  const load = async ({ key, rules, told }: Wanted): Promise<string | undefined> => {
    const earlier = loaded?.told ?? told
    loaded = undefined
    const result = await loadFirst(rules)
    if (!result.ok) return result.detail
    if (result.before !== undefined) counts.take(result.before, earlier)
    loaded = { key, told, packets: result.packets }
    return undefined
  }

  /** Shows by a packet that the rules see pods, and reads them back; without `whole` perhaps only their counters. */
  const judge = async (whole: boolean): Promise<{ readonly why?: string; readonly differs?: boolean }> => {
    const before = loaded?.packets[PROOF_COUNTER] ?? 0
    const sent = await prove(metadata)
    if (chosen === undefined || loaded === undefined) return { why: NOT_LOADED, differs: true }
    const read = await chosen.read(whole)
    if (!read.ok) return { why: read.detail }
    if (read.differs) return { why: `another program changed ${chosen.what}`, differs: true }
    counts.take(read.packets, loaded.told)
    loaded = { ...loaded, packets: read.packets }
    if ((read.packets[PROOF_COUNTER] ?? 0) - before >= sent) return {}
    if (!whole) return judge(true)
    return {
      why: 'the rules do not see the packets of pods: this container must be in the node’s cgroup namespace, and no other program may drop what is sent to the metadata service',
    }
  }
  return { load, judge, loaded: () => loaded, chosen: () => chosen }
}

/** What says which rules there should be now, or why that is not known. */
function rulesWanted({ metadata, mode, self, readPods }: KeeperOptions) {
  let known: readonly HostPod[] | undefined
  return async (): Promise<({ readonly ok: true } & Wanted) | Failed> => {
    const place = podCgroups(await self())
    if (!place.ok) return place
    const list = await readPods()
    if (list.ok) known = list.pods
    // Without the list nobody could be let through, such as the network plugin on which the node depends.
    if (known === undefined && mode === 'block' && !list.ok) return list
    const root = await idOf(place.root)
    if (root === undefined)
      return failed(
        `the cgroup ${place.root} of all pods is not in /sys/fs/cgroup: mount the node's there, read-only`,
      )
    const told = await tellApart(place, known ?? [])
    const pods = told.map(({ path, uid, allowed }) => ({ cgroup: path, counter: counterOf(uid), allowed }))
    const rules = { metadata, mode, root: place.root, pods }
    const key = JSON.stringify([rules, root, told.map(({ id }) => id)])
    return { ok: true, key, rules, told, old: list.ok ? undefined : list.detail }
  }
}

/** The pods that have a cgroup, and ours, which needs the node's role whatever the list says. */
async function tellApart({ root, own }: PodCgroups, pods: readonly HostPod[]): Promise<readonly Told[]> {
  const uid = /pod([0-9a-f_-]+)(?:\.slice)?$/.exec(own)?.[1]?.replaceAll('_', '-') ?? ''
  const ours = { uid, namespace: 'pod2iam', name: 'this-node-guard', allowed: true }
  const byCgroup = new Map<string, Told>()
  for (const pod of [ours, ...pods]) {
    const found = await findPod(root, pod.uid)
    if (found === undefined) continue
    // A uid that is listed twice is that of a static pod which somebody else claims: whoever is allowed stays so.
    const allowed = pod.allowed || byCgroup.get(found.path)?.allowed === true
    byCgroup.set(found.path, { ...pod, ...found, allowed })
  }
  return [...byCgroup.values()]
}
