import type { HostPod } from '../../../common/host-pods.ts'
import type { Logger } from '../../../common/log.ts'
import { type Failed, failed } from '../../../common/result.ts'
import { tableCommands } from '../nft/commands.ts'
import { deleteTable, loadTable, readTable } from '../nft/table.ts'
import { parseTable, type TableContent } from '../nft/table-content.ts'
import type { Exec } from '../process/exec.ts'
import type { Failure } from '../process/failure.ts'
import {
  HOST_NETWORK_TABLE,
  hostNetworkRuleset,
  OTHER_COUNTER,
  PROOF_COUNTER,
} from '../rules/host-network-nft.ts'
import { findPod, idOf, type PodCgroups, podCgroups } from './cgroups.ts'
import { counterOf, createHostCounts, type HostNetwork } from './counts.ts'

/** With the time of the last check, milliseconds. */
type HostNetworkState = HostNetwork & { readonly checkedAt: number }

type KeeperOptions = {
  readonly exec: Exec
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

/** Counters of pods that are gone. */
const MAX_STALE = 64

type Told = HostPod & { readonly path: string; readonly id: number }
type Wanted = {
  /** Differs where the rules do, or the id of a cgroup that they name. */
  readonly key: string
  readonly ruleset: string
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
    detail: 'the rules have not been loaded yet',
  }

  const conclude = (detail: string | undefined) => {
    if (detail !== undefined && detail !== verdict.detail) log.error('host network not verified', { detail })
    if (detail === undefined && !verdict.verified)
      log.info('host network rules verified', { mode, pods: rules.loaded()?.told.length })
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
    state: (): HostNetworkState => ({
      mode,
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

/** The rules in the kernel: loads them, and judges whether they are as loaded and see pods. */
function rulesInKernel(
  { exec, metadata, prove }: KeeperOptions,
  counts: ReturnType<typeof createHostCounts>,
) {
  let loaded: (Pick<TableContent, 'text' | 'packets'> & Pick<Wanted, 'key' | 'told'>) | undefined
  const load = async ({ key, ruleset, told }: Wanted): Promise<string | undefined> => {
    const before = await readTable(exec, HOST_NETWORK_TABLE)
    if (before.ok && before.content) counts.take(before.content.packets, loaded?.told ?? told)
    loaded = undefined
    const commands = [tableCommands(ruleset).commands, ...stale(before.ok ? before.content : undefined, told)]
    const result = await loadTable(exec, ruleset, exec('nft', [commands.join('\n')]))
    if (!result.ok) return result.detail
    if (result.loaded === undefined) return `table ${HOST_NETWORK_TABLE} was changed while it was loaded`
    loaded = { key, told, text: result.loaded.text, packets: result.loaded.packets }
    return undefined
  }

  /**
   * Shows by a packet that the rules see pods, and reads them back; without `whole` only their counters, since nft searches
   * all cgroups of the node for each that it prints.
   */
  const judge = async (whole: boolean): Promise<{ readonly why?: string; readonly differs?: boolean }> => {
    const before = loaded?.packets[PROOF_COUNTER] ?? 0
    const sent = await prove(metadata)
    const read = whole ? await readTable(exec, HOST_NETWORK_TABLE) : await readCounters(exec)
    if (!read.ok) return { why: read.detail }
    const packets = read.content?.packets ?? {}
    if (loaded === undefined || read.content === undefined || (whole && read.content.text !== loaded.text))
      return { why: `table ${HOST_NETWORK_TABLE} was changed by another program`, differs: true }
    counts.take(packets, loaded.told)
    loaded = { ...loaded, packets }
    if ((packets[PROOF_COUNTER] ?? 0) - before >= sent) return {}
    if (!whole) return judge(true)
    return {
      why: 'the rules do not see the packets of pods: this container must be in the node’s cgroup namespace, and no other program may drop what is sent to the metadata service',
    }
  }
  return { load, judge, loaded: () => loaded }
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
    const ruleset = hostNetworkRuleset({ metadata, mode, root: place.root, pods })
    const key = JSON.stringify([ruleset, root, told.map(({ id }) => id)])
    return { ok: true, key, ruleset, told, old: list.ok ? undefined : list.detail }
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

/** The table's counters, without its rules; `content` is undefined where the table is gone. */
async function readCounters(exec: Exec): ReturnType<typeof readTable> {
  const result = await exec('nft', ['--json', 'list', 'counters', 'table', ...HOST_NETWORK_TABLE.split(' ')])
  if (result.code !== 0) return readTable(exec, HOST_NETWORK_TABLE)
  const content = parseTable(result.stdout)
  return { ok: true, content: PROOF_COUNTER in content.packets ? content : undefined }
}

/** Commands that delete the counters of pods that are gone, many at once: for `delete` nft reads what all tables have. */
function stale(content: TableContent | undefined, told: readonly Told[]): string[] {
  const kept = new Set([OTHER_COUNTER, PROOF_COUNTER, ...told.map(({ uid }) => counterOf(uid))])
  const gone = Object.keys(content?.packets ?? {}).filter((name) => !kept.has(name))
  return gone.length < MAX_STALE ? [] : gone.map((name) => `delete counter ${HOST_NETWORK_TABLE} ${name}`)
}

/** Removes the rules; returns why they could not be removed, or undefined. */
export async function removeHostNetwork(exec: Exec): Promise<Failure | undefined> {
  const read = await readTable(exec, HOST_NETWORK_TABLE)
  if (!read.ok) return read
  return read.content === undefined ? undefined : deleteTable(exec, HOST_NETWORK_TABLE)
}
