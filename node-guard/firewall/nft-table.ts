import { type Exec, type ExecResult, isUnsupported, whyFailed } from './exec.ts'
import { parseTable, type TableContent } from './table-content.ts'

/** A table's full name, as in `inet pod2iam_guard`. */
export type TableName = `inet ${string}`

/** `unusable`: nft will not work on this machine as it is. */
type Failed = { readonly ok: false; readonly detail: string; readonly unusable: boolean }

/**
 * Loads a ruleset that fills one table, in one transaction, so that it can be verified.
 *
 * @returns the content as the kernel echoes that very transaction: the measure by which to verify later, free of
 *   what others did in between and of how this nft likes to print
 */
export async function loadTable(
  exec: Exec,
  ruleset: string,
): Promise<{ readonly ok: true; readonly loaded: TableContent } | Failed> {
  // As an argument: with --json nft opens /dev/stdin by name and reads it twice, which fails on Node's pipes, and a
  // file would need a writable root.
  const result = await exec('nft', ['--echo', '--json', ruleset])
  if (result.code !== 0) return failure(result)
  return { ok: true, loaded: parseTable(result.stdout) }
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
