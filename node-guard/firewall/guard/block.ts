import type { Logger } from '../../../common/log.ts'
import type { Ways } from '../node/network.ts'
import { COUNTERS, type CounterName, type GuardRuleset } from '../rules/guard.ts'
import type { BackendName, Compared } from './backend.ts'
import type { Choice } from './choice.ts'

/** What made us look. `uplinks`: the ways into the node changed; `monitor`: events were missed while it was away. */
export const CAUSES = ['start', 'event', 'poll', 'monitor', 'uplinks'] as const
export type Cause = (typeof CAUSES)[number]

export type BlockState = {
  /** The kernel holds exactly the rules we loaded, as last read back. */
  readonly verified: boolean
  /** When that was last looked at, milliseconds; undefined before the first time. */
  readonly checkedAt: number | undefined
  /** One sentence where `verified` is false. */
  readonly detail: string | undefined
  /** By what means the rules stand; undefined before they did. */
  readonly backend: BackendName | undefined
  /** Why it is not the first that `--backend` admits. */
  readonly fallback: string | undefined
  /** Why it keeps less than is promised on this node. */
  readonly limited?: string | undefined
  /** Why rules of another backend may stand beside it. */
  readonly othersLeft: string | undefined
  /** Packets by counter since this process started. */
  readonly packets: Readonly<Record<CounterName, number>>
  /** How often somebody else's change was undone, by what made us look. */
  readonly repairs: Readonly<Record<Cause, number>>
}

export const NO_PACKETS: BlockState['packets'] = zero(COUNTERS)
export const NO_REPAIRS: BlockState['repairs'] = zero(CAUSES)

type BlockOptions = {
  readonly metadata: readonly string[]
  readonly broker: readonly string[]
  readonly choice: Choice
  /** The ways into the node, as last seen. */
  readonly ways: () => Ways
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

export type Block = { readonly check: (cause: Cause) => Promise<void>; readonly state: () => BlockState }

/**
 * Keeps the guard's rules as they should be. `check` reads them back, loads them again where they differ, and reads
 * them back again; it never throws. Not to be called while it runs (see `singleFlight`).
 */
export function createBlock({ metadata, broker, choice, ways, now, log }: BlockOptions): Block {
  const packets = { ...NO_PACKETS }
  const repairs = { ...NO_REPAIRS }
  let counted: NonNullable<Compared['packets']> = {}
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

  /** Counters restart with every load; ours go on. */
  const count = (read: NonNullable<Compared['packets']>) => {
    for (const name of COUNTERS) {
      const value = read[name] ?? 0
      const before = counted[name] ?? 0
      packets[name] += value >= before ? value - before : value
    }
    counted = read
  }

  const check = async (cause: Cause) => {
    const rules: GuardRuleset = { metadata, broker, ...ways() }
    const key = JSON.stringify(rules)
    const backend = choice.chosen()
    let found: Compared['differs']
    if (backend !== undefined && wanted === key) {
      const heard = backend.heard?.()
      const { failed, differs, packets }: Compared =
        heard === undefined ? await backend.compare() : { differs: heard }
      if (packets !== undefined) count(packets)
      if (differs === undefined) return conclude(failed)
      found = differs
      // Until they stand again: iptables-legacy may wait seconds for its lock.
      verdict = {
        verified: false,
        checkedAt: now(),
        detail: `${backend.what} ${differs}, and is being loaded again`,
      }
    }
    const failed = await choice.load(rules)
    if (failed === undefined) {
      counted = {}
      wanted = key
      if (found !== undefined) {
        repairs[cause]++
        log.warn('rules repaired', {
          detail: `${backend?.what} ${found} by somebody else's doing and was loaded again; where it happens often, nft monitor shows whose`,
          rules: backend?.what,
          found,
          cause,
        })
      }
    }
    conclude(failed)
  }

  return {
    check: async (cause) => {
      await check(cause)
      if (verdict.verified) await choice.removeOthers()
    },
    state: () => ({
      ...verdict,
      backend: choice.chosen()?.name,
      fallback: choice.fallback(),
      limited: choice.chosen()?.limits?.(),
      othersLeft: choice.left(),
      packets: { ...packets },
      repairs: { ...repairs },
    }),
  }
}

function zero<const K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>
}
