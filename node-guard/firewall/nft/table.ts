import { messageOf } from '../../../common/errors.ts'
import { type Exec, type ExecResult, isUnsupported, whyFailed } from '../process/exec.ts'
import { tableCommands } from './commands.ts'
import { hasShape, parseTable, type TableContent, type TableName } from './table-content.ts'

/** `unusable`: nft will not work on this machine as it is. */
type Failed = { readonly ok: false; readonly detail: string; readonly unusable: boolean }

type Loaded = {
  readonly ok: true
  readonly loaded: TableContent | undefined
  readonly replaced: TableContent | undefined
}

/**
 * Loads a table, written as one block (`nft/commands.ts`), in one transaction: there is never a moment without it, and
 * never one with half of it. Where something else stands in it that its rules do not replace (chains, sets, flags: of an
 * earlier release, or somebody's), it is deleted and made anew, again in one transaction.
 *
 * @param written the same commands, where nft was given them already
 * @returns `loaded`, the content as it was read back, the measure by which to verify later, free of how this nft likes
 *   to print; undefined where somebody changed it meanwhile: as many rules in each chain as were loaded, or it is no
 *   measure. `replaced`, what was deleted, with its counts
 */
export async function loadTable(
  exec: Exec,
  ruleset: string,
  written?: Promise<ExecResult>,
): Promise<Loaded | Failed> {
  let wanted: ReturnType<typeof tableCommands>
  try {
    wanted = tableCommands(ruleset)
  } catch (error) {
    return { ok: false, detail: messageOf(error), unusable: false }
  }
  const { table, commands, shape } = wanted
  const light = await (written ?? exec('nft', [commands]))
  if (light.code !== 0 && light.code !== 1) return failure(light)
  const standing = await readTable(exec, table)
  const replaced = standing.ok ? standing.content : undefined
  // What stands may be in the way, such as a chain with another hook, which each nft words otherwise; nothing is not.
  if (light.code !== 0 && replaced === undefined) return failure(light)
  if (!standing.ok) return standing
  if (light.code === 0 && replaced !== undefined && hasShape(replaced, shape))
    return { ok: true, loaded: replaced, replaced: undefined }
  const whole = await exec('nft', [`add table ${table}\ndelete table ${table}\n${commands}`])
  if (whole.code !== 0) return failure(whole)
  const read = await readTable(exec, table)
  if (!read.ok) return read
  const loaded = read.content !== undefined && hasShape(read.content, shape) ? read.content : undefined
  return { ok: true, loaded, replaced }
}

/** Loads a ruleset in one transaction. Returns why it could not, or undefined. */
export async function applyRuleset(exec: Exec, ruleset: string): Promise<string | undefined> {
  return (await tryRuleset(exec, ruleset))?.detail
}

/** As {@link applyRuleset}, with whether nft will ever work here. */
export async function tryRuleset(exec: Exec, ruleset: string): Promise<Failed | undefined> {
  const result = await exec('nft', [ruleset])
  return result.code === 0 ? undefined : failure(result)
}

/** Reads one table back; `content` is undefined when it does not exist. */
export async function readTable(
  exec: Exec,
  name: TableName,
): Promise<{ readonly ok: true; readonly content: TableContent | undefined } | Failed> {
  const result = await exec('nft', ['--json', 'list', 'table', ...name.split(' ')])
  if (result.code === 0) return { ok: true, content: parseTable(result.stdout) }
  if (result.code === 1 && /^Error: No such file or directory/m.test(result.stderr))
    return { ok: true, content: undefined }
  return failure(result)
}

/** Deletes a table, whether it exists or not. Returns why it could not, or undefined. */
export async function deleteTable(exec: Exec, name: TableName): Promise<string | undefined> {
  // `delete` fails on what does not exist; `add` before it, in the same transaction, makes it exist.
  return applyRuleset(exec, `add table ${name}; delete table ${name}`)
}

const failure = (result: ExecResult): Failed => ({
  ok: false,
  detail: whyFailed('nft', result),
  unusable: result.code === 'missing' || isUnsupported(result),
})
