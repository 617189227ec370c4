import { messageOf } from '../../../common/errors.ts'
import { failed } from '../../../common/result.ts'
import { type Exec, type ExecResult, isUnsupported, whyFailed } from '../process/exec.ts'
import { type Failure, unusable } from '../process/failure.ts'
import type { TableName } from '../rules/nft.ts'
import { tableCommands } from './commands.ts'
import { hasShape, parseTable, type TableContent } from './table-content.ts'

type Loaded = {
  readonly ok: true
  readonly loaded: TableContent | undefined
  readonly replaced: TableContent | undefined
}

/**
 * Loads a table, written as one block (`nft/commands.ts`), in one transaction: there is never a moment without it or
 * with half of it. Where it contains anything that its rules do not replace (chains, sets or flags of an earlier release, or
 * of somebody else), it is deleted and created again, also in one transaction.
 *
 * @param written the result of the same commands, if nft has already been given them
 * @returns `loaded`: the content as it was read back, with which later readings are compared, so that the wording of
 *   this nft does not matter; undefined if another program changed it meanwhile, so that the number of rules in a chain differs.
 *   `replaced`: what was deleted, with its counters
 */
export async function loadTable(
  exec: Exec,
  ruleset: string,
  written?: Promise<ExecResult>,
): Promise<Loaded | Failure> {
  let wanted: ReturnType<typeof tableCommands>
  try {
    wanted = tableCommands(ruleset)
  } catch (error) {
    return failed(messageOf(error))
  }
  const { table, commands, shape } = wanted
  const light = await (written ?? runCommands(exec, commands))
  if (light.code !== 0 && light.code !== 1) return nftFailure(light)
  const existing = await readTable(exec, table)
  const replaced = existing.ok ? existing.content : undefined
  // An existing table may prevent it, for example by a chain with another hook; each version of nft words that differently.
  if (light.code !== 0 && replaced === undefined) return nftFailure(light)
  if (!existing.ok) return existing
  if (light.code === 0 && replaced !== undefined && hasShape(replaced, shape))
    return { ok: true, loaded: replaced, replaced: undefined }
  const whole = await runCommands(exec, `add table ${table}\ndelete table ${table}\n${commands}`)
  if (whole.code !== 0) return nftFailure(whole)
  const read = await readTable(exec, table)
  if (!read.ok) return read
  const loaded = read.content !== undefined && hasShape(read.content, shape) ? read.content : undefined
  return { ok: true, loaded, replaced }
}

/** A bit less than the kernel admits as one argument (MAX_ARG_STRLEN). */
const MAX_ARGUMENT = 120_000

/** Runs commands in one transaction: as an argument, or from the standard input where they are too long for that. */
export function runCommands(exec: Exec, commands: string): Promise<ExecResult> {
  return Buffer.byteLength(commands) <= MAX_ARGUMENT
    ? exec('nft', [commands])
    : exec('nft', ['-f', '-'], { input: commands })
}

/** Loads a ruleset in one transaction. Returns why it could not, or undefined. */
export async function applyRuleset(exec: Exec, ruleset: string): Promise<Failure | undefined> {
  const result = await exec('nft', [ruleset])
  return result.code === 0 ? undefined : nftFailure(result)
}

/** Reads one table back; `content` is undefined when it does not exist. */
export async function readTable(
  exec: Exec,
  name: TableName,
): Promise<{ readonly ok: true; readonly content: TableContent | undefined } | Failure> {
  const result = await exec('nft', ['--json', 'list', 'table', ...name.split(' ')])
  if (result.code === 0)
    try {
      return { ok: true, content: parseTable(result.stdout) }
    } catch (error) {
      // nft prints nothing and ends with 0 if another program interferes while it lists the table.
      return failed(`nft did not list table ${name}: ${messageOf(error)}`)
    }
  if (result.code === 1 && /^Error: No such file or directory/m.test(result.stderr))
    return { ok: true, content: undefined }
  return nftFailure(result)
}

/** Deletes a table, whether it exists or not. Returns why it could not, or undefined. */
export async function deleteTable(exec: Exec, name: TableName): Promise<Failure | undefined> {
  // `delete` fails where there is no table; `add` before it, in the same transaction, creates one.
  return applyRuleset(exec, `add table ${name}; delete table ${name}`)
}

export const nftFailure = (result: ExecResult): Failure =>
  (result.code === 'missing' || isUnsupported(result) ? unusable : failed)(whyFailed('nft', result))
