import type { Logger } from '../../../common/log.ts'
import { failed } from '../../../common/result.ts'
import { createCounts, type Packets } from '../backend/counts.ts'
import type { Exec } from '../process/exec.ts'
import type { Failure } from '../process/failure.ts'
import type { GuardRuleset } from '../rules/guard.ts'
import { OWNED_TABLE, ownedRuleset } from '../rules/guard-nft.ts'
import { tableCommands } from './commands.ts'
import type { Holder } from './owned-holder.ts'
import { deleteTable, nftFailure } from './table.ts'

export type OwnedTable = ReturnType<typeof createOwnedTable>
export type OwnedState = ReturnType<OwnedTable['state']>

type OwnedTableOptions = {
  readonly exec: Exec
  readonly hold: (ended: (why: string) => void) => Holder
  /** Called when the table was lost without our doing, so that `check` is due. */
  readonly lost: () => void
  readonly log: Logger
}

/**
 * The second table of `--owned-table=true`: the same rules, which no other process can flush, change or delete. It
 * disappears with the process that owns it, while the plain table stays: each covers for the other.
 */
export function createOwnedTable({ exec, hold, lost, log }: OwnedTableOptions) {
  const counts = createCounts()
  let holder: Holder | undefined
  let wanted: { readonly key: string; readonly text: string } | undefined
  let detail: string | undefined = 'the owned table has not been created yet'

  const conclude = (why: string | undefined) => {
    if (why !== undefined && why !== detail) log.error('owned table not held', { detail: why })
    if (why === undefined && detail !== undefined) log.info('owned table held', { table: OWNED_TABLE })
    detail = why
  }

  const start = () => {
    const started = hold((why) => {
      if (holder !== started) return
      const held = detail === undefined
      holder = wanted = undefined
      conclude(`the process that owns table ${OWNED_TABLE} ended (${why}); it is started again`)
      if (held) lost()
    })
    return started
  }

  const release = () => {
    holder?.end()
    holder = wanted = undefined
  }

  const load = async (rules: GuardRuleset): Promise<string | undefined> => {
    if (holder === undefined) {
      const failure = await removeUnownedTable(exec)
      if (failure !== undefined) return failure.detail
      holder = start()
      counts.restart()
    }
    const why = await holder.load(tableCommands(ownedRuleset(rules)).commands)
    if (why !== undefined) {
      release()
      return `table ${OWNED_TABLE} cannot be created (${why}): it needs NET_ADMIN, nft and kernel 5.12 or newer; the plain table does not depend on it`
    }
    const seen = await listTable(exec)
    if (!seen.ok) return seen.detail
    wanted = { key: JSON.stringify(rules), text: comparable(seen.listing ?? '') }
    return undefined
  }

  return {
    /** Creates the table where it is missing, or anew where the rules changed; never throws. Not to be called while it runs. */
    check: async (rules: GuardRuleset) => {
      if (holder !== undefined && wanted?.key === JSON.stringify(rules)) {
        const seen = await listTable(exec)
        if (!seen.ok) return conclude(seen.detail)
        if (seen.listing !== undefined && comparable(seen.listing) === wanted?.text) {
          counts.read(packetsIn(seen.listing))
          return conclude(undefined)
        }
      }
      conclude(await load(rules))
    },
    /**
     * `held`: the table is in the kernel as we loaded it, and no other process can change it. `detail`: one sentence where it is not.
     * `packets`: by counter since this process started.
     */
    state: () => ({ held: detail === undefined, detail, packets: counts.total() }),
    /** Ends the process that holds the table, and with it the table. */
    stop: release,
  }
}

/**
 * Removes a table with the name of the owned one that no process owns, since it would keep us from creating ours. Returns why the
 * name is not free, or undefined.
 */
export async function removeUnownedTable(exec: Exec): Promise<Failure | undefined> {
  const seen = await listTable(exec)
  if (!seen.ok) return seen
  if (seen.listing === undefined) return undefined
  if ((await deleteTable(exec, OWNED_TABLE)) === undefined) return undefined
  return failed(
    `table ${OWNED_TABLE} is held by another process: another guard runs on this node; end that one first`,
  )
}

/**
 * The table as text; no listing where there is none. Not as JSON, since nft 1.0.6 reads beyond an array of its own when
 * it prints the flag `owner`, and may print invalid JSON.
 */
async function listTable(exec: Exec): Promise<{ readonly ok: true; readonly listing?: string } | Failure> {
  const result = await exec('nft', ['list', 'table', ...OWNED_TABLE.split(' ')])
  if (result.code === 0) return { ok: true, listing: result.stdout }
  if (result.code === 1 && /^Error: No such file or directory/m.test(result.stderr)) return { ok: true }
  return nftFailure(result)
}

/** Packets by named counter. */
function packetsIn(listing: string): Partial<Packets> {
  const counters = listing.matchAll(/^\s*counter (\w+) \{[^}]*packets (\d+) /gm)
  return Object.fromEntries([...counters].map(([, name = '', packets]) => [name, Number(packets)]))
}

/** Without counts, handles and comments. No other process can change the rest, so the first listing is the reference. */
const comparable = (listing: string) => listing.replaceAll(/ # .*|\s*packets \d+ bytes \d+/g, '').trim()
