/**
 * A table as nft commands, in a form whose cost does not depend on the rules of other programs.
 *
 * For `delete`, a block of a whole table, `add rule` and `add element`, nft (1.0.6, and to a lesser degree later ones)
 * first reads the chains, sets and elements of *all* tables: 66 MB at 60,000 chains. For `flush table`, `add chain` with
 * its rules and `add set` without elements it does not: 5 MB at any size (docs/decisions/0090).
 */

import type { TableName } from '../rules/nft.ts'
import type { TableShape } from './table-content.ts'

/**
 * Converts a table that is written as one block, with a line for each object, to commands.
 *
 * Each element of a fixed set becomes a separate rule: nft 1.0.6 crashes when it reads a named set that a later release
 * made, and would do so for everybody on the node who uses it.
 *
 * @returns `table`, its name; `commands`, one per line, which replace the rules of the table in one transaction; `shape`, what the
 *   table then consists of
 * @throws a SyntaxError that names the line it cannot parse
 */
export function tableCommands(ruleset: string): {
  readonly table: TableName
  readonly commands: string
  readonly shape: TableShape
} {
  const { table, flags, objects, chains } = parse(ruleset)
  const shape = {
    chains: Object.fromEntries(chains.map((chain) => [chain.name, chain.rules.length])),
    sets: objects.flatMap((object) => /^set (\w+)/.exec(object)?.[1] ?? []),
  }
  const commands = [
    flags === undefined ? `add table ${table}` : `add table ${table} { flags ${flags}; }`,
    `flush table ${table}`,
    ...objects.map((object) => object.replace(/^(\w+) /, `add $1 ${table} `)),
    ...chains.map(({ name, hook, rules }) => {
      const body = [...(hook === undefined ? [] : [hook]), ...rules.map((rule) => `${rule};`)]
      return `add chain ${table} ${name} { ${body.join(' ')} }`
    }),
  ]
  return { table, commands: commands.join('\n'), shape }
}

const CHAIN = /^chain (\w+) \{\n([\s\S]*?)^\}$/gm
const SET = /^set (\w+) \{ (.*) \}$/

/** The parts of a ruleset. `objects` are `counter NAME { }` and `set NAME { … }`, unchanged. */
function parse(ruleset: string) {
  const text = linesOf(ruleset).join('\n')
  const [header, ...others] = linesOf(text.replaceAll(CHAIN, ''))
  const [, table] = /^table (inet \w+) \{$/.exec(header ?? '') ?? []
  if (table === undefined || others.pop() !== '}') throw new SyntaxError(`${FAULT}: a table in braces`)
  const fixed = new Map<string, readonly string[]>()
  const objects: string[] = []
  let flags: string | undefined
  for (const line of others) {
    const [, set, body = ''] = SET.exec(line) ?? []
    if (set !== undefined && !body.includes('flags ')) fixed.set(set, elementsOf(body))
    else if (set !== undefined || line.startsWith('counter ')) objects.push(line)
    else if (line.startsWith('flags ')) flags = line.slice('flags '.length)
    else throw new SyntaxError(`${FAULT}: a counter, a set or a chain, not ${line}`)
  }
  const chains = [...text.matchAll(CHAIN)].map(([, name = '', body = '']) => {
    const rules = linesOf(body)
    const hook = rules[0]?.startsWith('type ') ? rules.shift() : undefined
    return { name, hook, rules: rules.flatMap((rule) => expanded(rule, fixed)) }
  })
  return { table: table as TableName, flags, objects, chains }
}

const FAULT = 'syntax error in our own ruleset, where this is expected'

const linesOf = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))

/** Expands a rule to one for each element of the fixed sets that it names; `!= @set` becomes one condition per element. */
function expanded(rule: string, fixed: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const [condition = '', field = '', not, name = ''] =
    [...rule.matchAll(/((?:ct original )?\w+(?: \w*addr)?) (!= )?@(\w+)/g)].find(([, , , set = '']) =>
      fixed.has(set),
    ) ?? []
  if (condition === '') return [rule]
  const elements = fixed.get(name) ?? []
  if (not !== undefined)
    return expanded(rule.replace(condition, elements.map((one) => `${field} != ${one}`).join(' ')), fixed)
  return elements.flatMap((one) => expanded(rule.replace(condition, `${field} ${one}`), fixed))
}

const elementsOf = (body: string) => /elements = \{ (.*) \}/.exec(body)?.[1]?.split(/,\s*/) ?? []
