import type { Logger } from '../../../common/log.ts'
import type { Failure } from '../guard/backend.ts'
import { NO_PACKETS } from '../guard/block.ts'
import { type Exec, isUnsupported, whyFailed } from '../process/exec.ts'
import { COUNTERS, type CounterName, type GuardRuleset } from '../rules/guard.ts'
import { OWNED_TABLE, ownedRuleset } from '../rules/guard-nft.ts'
import { tableCommands } from './commands.ts'
import type { Holder } from './owned-holder.ts'
import { deleteTable } from './table.ts'

export type OwnedState = {
  /** The table is in the kernel, as we loaded it, and nobody else can change it. */
  readonly held: boolean
  /** One sentence where it is not. */
  readonly detail: string | undefined
  /** Packets by counter since this process started. */
  readonly packets: Readonly<Record<CounterName, number>>
}

export type OwnedTable = {
  /** Makes the table where it is missing, or anew where the rules changed; never throws. Not to be called while it runs. */
  readonly check: (rules: GuardRuleset) => Promise<void>
  readonly state: () => OwnedState
  /** Lets it go. */
  readonly stop: () => void
}

type OwnedTableOptions = {
  readonly exec: Exec
  readonly hold: (ended: (why: string) => void) => Holder
  /** The table is gone, and not by our doing: time for another `check`. */
  readonly lost: () => void
  readonly log: Logger
}

/**
 * The second table of `--owned-table=true`: the same rules, which no other process can flush, change or delete. It goes
 * with the process that holds it; the plain table stays, so that either covers the other's absence.
 */
export function createOwnedTable({ exec, hold, lost, log }: OwnedTableOptions): OwnedTable {
  const packets = { ...NO_PACKETS }
  let counted: Packets = {}
  let holder: Holder | undefined
  let wanted: { readonly key: string; readonly text: string } | undefined
  let detail: string | undefined = 'the owned table has not been made yet'

  const conclude = (failed: string | undefined) => {
    if (failed !== undefined && failed !== detail) log.error('owned table not held', { detail: failed })
    if (failed === undefined && detail !== undefined) log.info('owned table held', { table: OWNED_TABLE })
    detail = failed
  }

  const count = (read: Packets) => {
    for (const name of COUNTERS) {
      const [value, before] = [read[name] ?? 0, counted[name] ?? 0]
      packets[name] += value >= before ? value - before : value
    }
    counted = read
  }

  const start = () => {
    const started = hold((why) => {
      if (holder !== started) return
      const held = detail === undefined
      holder = wanted = undefined
      conclude(`the process that holds table ${OWNED_TABLE} ended (${why}); it is started again`)
      if (held) lost()
    })
    return started
  }

  const letGo = () => {
    holder?.end()
    holder = wanted = undefined
  }

  const load = async (rules: GuardRuleset): Promise<string | undefined> => {
    if (holder === undefined) {
      const inTheWay = await makeRoom(exec)
      if (inTheWay !== undefined) return inTheWay.detail
      holder = start()
      counted = {}
    }
    const failed = await holder.load(tableCommands(ownedRuleset(rules)).commands)
    if (failed !== undefined) {
      letGo()
      return `table ${OWNED_TABLE} cannot be made (${failed}): it needs NET_ADMIN, nft and a kernel from 5.12 on; the plain table stands without it`
    }
    const seen = await listTable(exec)
    if (seen.failed !== undefined) return seen.failed.detail
    wanted = { key: JSON.stringify(rules), text: comparable(seen.listing ?? '') }
    return undefined
  }

  return {
    check: async (rules) => {
      if (holder !== undefined && wanted?.key === JSON.stringify(rules)) {
        const seen = await listTable(exec)
        if (seen.failed !== undefined) return conclude(seen.failed.detail)
        if (seen.listing !== undefined && comparable(seen.listing) === wanted?.text) {
          count(packetsIn(seen.listing))
          return conclude(undefined)
        }
      }
      conclude(await load(rules))
    },
    state: () => ({ held: detail === undefined, detail, packets: { ...packets } }),
    stop: letGo,
  }
}

/**
 * Removes a table of that name that nobody owns, which would keep us from owning it. Returns why there is no room, or
 * undefined.
 */
export async function makeRoom(exec: Exec): Promise<Failure | undefined> {
  const seen = await listTable(exec)
  if (seen.failed !== undefined) return seen.failed
  if (seen.listing === undefined) return undefined
  if ((await deleteTable(exec, OWNED_TABLE)) === undefined) return undefined
  const detail = `table ${OWNED_TABLE} is held by another process: another guard runs on this node; end that one first`
  return { detail, unusable: false }
}

/**
 * The table as text, nothing where there is none. Not as JSON: for the flag `owner` nft 1.0.6 prints what lies behind an
 * array of its own in JSON, which is no JSON when that is nothing.
 */
async function listTable(exec: Exec): Promise<{ readonly listing?: string; readonly failed?: Failure }> {
  const result = await exec('nft', ['list', 'table', ...OWNED_TABLE.split(' ')])
  if (result.code === 0) return { listing: result.stdout }
  if (result.code === 1 && /^Error: No such file or directory/m.test(result.stderr)) return {}
  const unusable = result.code === 'missing' || isUnsupported(result)
  return { failed: { detail: whyFailed('nft', result), unusable } }
}

type Packets = Readonly<Record<string, number>>

/** Packets by named counter. */
function packetsIn(listing: string): Packets {
  const counters = listing.matchAll(/^\s*counter (\w+) \{[^}]*packets (\d+) /gm)
  return Object.fromEntries([...counters].map(([, name = '', packets]) => [name, Number(packets)]))
}

/** Without counts, handles and comments. Nobody else can change the rest, so that the first listing is the measure. */
const comparable = (listing: string) => listing.replaceAll(/ # .*|\s*packets \d+ bytes \d+/g, '').trim()
