/**
 * A table as commands of nft, in the form that costs nothing on a node full of other people's rules.
 *
 * What makes nft (1.0.6, and to a lesser degree later ones) read the chains, sets and elements of *all* tables before it
 * writes a word is `delete`, a block of a whole table, `add rule` and `add element`: 66 MB at 60,000 chains. `flush
 * table`, `add chain` with its rules and `add set` without elements do not: 5 MB at any size (docs/decisions/0090).
 */
import type { TableName, TableShape } from './table-content.ts'

/** What a ruleset holds, by its lines. */
type Parts = {
  readonly table: TableName
  readonly flags: string | undefined
  /** `counter NAME { }` and `set NAME { … }`, as they stand. */
  readonly objects: readonly string[]
  readonly chains: readonly {
    readonly name: string
    readonly hook: string | undefined
    readonly rules: readonly string[]
  }[]
}

/**
 * Rewrites a table that is written as one block, a line for each thing in it.
 *
 * Sets with fixed elements are written out, one rule an element: nft 1.0.6 crashes when it reads a named set that a later
 * one made, and would do so whenever anybody on the node uses it.
 *
 * @returns the commands, one a line, which fill the table anew in one transaction, whatever rules it had
 * @throws a SyntaxError that names the line it does not know
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

function parse(ruleset: string): Parts {
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
    return { name, hook, rules: rules.flatMap((rule) => writtenOut(rule, fixed)) }
  })
  return { table: table as TableName, flags, objects, chains }
}

const FAULT = 'syntax error in our own ruleset, where this is expected'

const linesOf = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))

/** A rule for each element of each fixed set that it names; `!= @set` becomes one condition an element. */
function writtenOut(rule: string, fixed: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const [condition = '', field = '', not, name = ''] =
    [...rule.matchAll(/((?:ct original )?\w+(?: \w*addr)?) (!= )?@(\w+)/g)].find(([, , , set = '']) =>
      fixed.has(set),
    ) ?? []
  if (condition === '') return [rule]
  const elements = fixed.get(name) ?? []
  if (not !== undefined)
    return writtenOut(rule.replace(condition, elements.map((one) => `${field} != ${one}`).join(' ')), fixed)
  return elements.flatMap((one) => writtenOut(rule.replace(condition, `${field} ${one}`), fixed))
}

const elementsOf = (body: string) => /elements = \{ (.*) \}/.exec(body)?.[1]?.split(/,\s*/) ?? []
