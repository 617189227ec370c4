import type { Logger } from '../../../common/log.ts'
import type { Backend, BackendName, Compared } from '../backend/backend.ts'
import { createCounts, type Packets, zeroCounts } from '../backend/counts.ts'
import type { Topology } from '../node/network.ts'
import type { GuardRuleset } from '../rules/guard.ts'
import type { Choice } from './choice.ts'

/** Why the rules are checked. `uplinks`: the interfaces or routes into the node changed. `monitor`: notifications may have been missed. */
export const CAUSES = ['start', 'event', 'poll', 'monitor', 'uplinks'] as const
export type Cause = (typeof CAUSES)[number]

export type BlockState = {
  /** When last read back, the kernel had exactly the rules that we loaded. */
  readonly verified: boolean
  /** When they were last read back, milliseconds; undefined before the first time. */
  readonly checkedAt: number | undefined
  /** One sentence if `verified` is false. */
  readonly detail: string | undefined
  /** The backend that keeps the rules; undefined before it has loaded them. */
  readonly backend: BackendName | undefined
  /** Why it is not the first that `--backend` allows. */
  readonly fallback: string | undefined
  /** Why it cannot do on this node everything that is documented. */
  readonly limited?: string | undefined
  /** Why there may also be rules of another backend. */
  readonly othersLeft: string | undefined
  /** Packets by counter since this process started. */
  readonly packets: Packets
  /** How often a change by another program was undone, by why the rules were checked. */
  readonly repairs: Readonly<Record<Cause, number>>
}

export const NO_REPAIRS: BlockState['repairs'] = zeroCounts(CAUSES)

type BlockOptions = {
  readonly metadata: readonly string[]
  readonly broker: readonly string[]
  readonly choice: Choice
  /** The interfaces and routes into the node, as last read. */
  readonly topology: () => Topology
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

export type Block = { readonly check: (cause: Cause) => Promise<void>; readonly state: () => BlockState }

/**
 * Keeps the guard's rules as they should be. `check` reads them back, loads them again where they differ, and reads
 * them back again; it never throws. Not to be called while it runs (see `coalesce`).
 */
export function createBlock({ metadata, broker, choice, topology, now, log }: BlockOptions): Block {
  const counts = createCounts()
  const repairs = { ...NO_REPAIRS }
  let wanted: string | undefined
  let verdict: Pick<BlockState, 'verified' | 'checkedAt' | 'detail'> = {
    verified: false,
    checkedAt: undefined,
    detail: 'the rules have not been loaded yet',
  }

  const conclude = (detail: string | undefined) => {
    if (detail !== undefined && detail !== verdict.detail) log.error('block not verified', { detail })
    if (detail === undefined && !verdict.verified)
      log.info('rules verified', { rules: choice.chosen()?.what })
    verdict = { verified: detail === undefined, checkedAt: now(), detail }
  }

  /** Returns why the rules are not verified, or undefined. */
  const check = async (cause: Cause): Promise<string | undefined> => {
    const rules: GuardRuleset = { metadata, broker, ...topology() }
    const key = JSON.stringify(rules)
    const backend = choice.chosen()
    let found: Compared['differs']
    // Also before other rules are loaded: that sets the counters of iptables to zero.
    if (backend !== undefined && wanted !== undefined) {
      const { failed, differs, packets } = await look(backend)
      if (packets !== undefined) counts.read(packets)
      if (differs === undefined && wanted === key) return failed
      found = differs
      // Until they are loaded again: iptables-legacy may wait seconds for its lock.
      if (differs !== undefined)
        verdict = {
          verified: false,
          checkedAt: now(),
          detail: `${backend.what} ${differs}, and is being loaded again`,
        }
    }
    const failed = await choice.load(rules, counts)
    if (failed !== undefined) return failed
    wanted = key
    if (found !== undefined) {
      repairs[cause]++
      logRepair(log, { rules: backend?.what, found, cause })
    }
    return undefined
  }

  return {
    check: async (cause) => {
      conclude(await check(cause))
      if (verdict.verified) await choice.removeOthers()
    },
    state: () => ({
      ...verdict,
      backend: choice.chosen()?.name,
      fallback: choice.fallback(),
      limited: choice.chosen()?.limits?.(),
      othersLeft: choice.othersLeft(),
      packets: counts.total(),
      repairs: { ...repairs },
    }),
  }
}

/** Reads the rules back, unless notifications say already that they were changed. */
async function look(backend: Backend): Promise<Compared> {
  const reported = backend.reportedChange?.()
  return reported === undefined ? backend.compare() : { differs: reported }
}

function logRepair(
  log: Logger,
  repair: { readonly rules: string | undefined; readonly found: string; readonly cause: Cause },
): void {
  log.warn('rules repaired', {
    detail: `${repair.rules} ${repair.found} because of another program and was loaded again; if it happens often, nft monitor shows which program`,
    ...repair,
  })
}
