/** A model of iptables-nft and nft's monitor, as far as the guard sees them: in memory, with events that may be late. */
import assert from 'node:assert/strict'
import type { Exec, ExecResult } from '../../node-guard/firewall/process/exec.ts'
import type { IptablesTable } from '../../node-guard/firewall/rules/iptables.ts'

const HOOKS: readonly string[] = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']
type Chains = Map<string, string[]>

export type IptablesModel = {
  readonly exec: Exec
  /** The commands that were run, each with the tables that it wrote. */
  readonly calls: string[]
  /** Lines of the monitor that were not read yet. */
  readonly events: string[]
  readonly chain: (table: IptablesTable, name: string) => readonly string[] | undefined
  /** As `iptables-restore` without `--noflush`: replaces all rules of the table by those of another program. */
  readonly replace: (table: IptablesTable, ...rules: readonly string[]) => void
}

/** @param before called before each command, to change rules as other programs do meanwhile */
export function iptablesModel(before: () => void = () => {}): IptablesModel {
  let tables = new Map<IptablesTable, Chains>()
  const calls: string[] = []
  const events: string[] = []
  let generation = 1

  const commit = (table: IptablesTable, commands: readonly string[]): boolean => {
    const chains: Chains = new Map([...(tables.get(table) ?? [])].map(([name, rules]) => [name, [...rules]]))
    const reported: string[] = []
    for (const command of commands) {
      const event = change(chains, command)
      if (event === 'failed') return false
      if (event !== undefined) reported.push(event.replace('TABLE', `ip ${table}`))
    }
    tables = new Map([...tables, [table, chains]])
    events.push(...reported, `# new generation ${++generation} by process 1 (iptables-nft-re)`)
    return true
  }
  const exec: Exec = async (program, given, { input = '' } = {}) => {
    const [command, args] = withoutBounds(program, given)
    before()
    if (command === 'nft') return { code: 0, stdout: 'nftables v1.0.6', stderr: '' }
    if (command.endsWith('-save')) {
      calls.push('save')
      const table = args[args.indexOf('-t') + 1]
      const asked = args.includes('-t') ? [...tables].filter(([name]) => name === table) : [...tables]
      return { code: 0, stdout: print(new Map(asked)), stderr: '' }
    }
    if (input.includes('\n-v -S ')) {
      calls.push('list')
      return list(input, (table, chain) =>
        tables
          .get(table)
          ?.get(chain)
          ?.map((rule) => ({ rule, packets: 0 })),
      )
    }
    const transactions = [...input.matchAll(/^\*(\w+)\n((?:.*\n)*?)COMMIT$/gm)]
    calls.push(`restore ${transactions.map(([, table]) => table).join(' ')}`)
    for (const [, table = '', body = ''] of transactions)
      if (!commit(table as IptablesTable, body.split('\n').filter(Boolean)))
        return { code: 1, stdout: '', stderr: 'iptables-restore: line 3 failed: No such file or directory' }
    return { code: 0, stdout: '', stderr: '' }
  }
  return {
    exec,
    calls,
    events,
    chain: (table, name) => tables.get(table)?.get(name),
    replace: (table, ...rules) => {
      const ours = [...(tables.get(table)?.keys() ?? [])].filter((name) => !HOOKS.includes(name))
      events.push(...ours.map((name) => `delete rule ip ${table} ${name} handle 4`))
      events.push(`delete table ip ${table}`, `add table ip ${table}`)
      tables = new Map([...tables, [table, new Map()]])
      assert.ok(commit(table, rules))
    },
  }
}

/** A command line without a leading prlimit. */
export function withoutBounds(command: string, args: readonly string[]): [string, readonly string[]] {
  return command === 'prlimit' ? [args[2] ?? '', args.slice(3)] : [command, args]
}

type CountedRule = { readonly rule: string; readonly packets: number }

/**
 * The output of iptables-nft-restore for `-v -S CHAIN`, line by line, until a chain does not exist; built-in ones always
 * do. If a rule has a target, its counters are before it.
 */
export function list(
  input: string,
  rulesOf: (table: IptablesTable, chain: string) => readonly CountedRule[] | undefined,
): ExecResult {
  let table: IptablesTable = 'filter'
  const lines: string[] = []
  for (const line of input.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1) as IptablesTable
    const chain = /^-v -S (\S+)$/.exec(line)?.[1]
    if (chain === undefined) continue
    const rules = rulesOf(table, chain)
    const builtIn = HOOKS.includes(chain)
    if (rules === undefined && !builtIn)
      return { code: 1, stdout: print(), stderr: 'line 3 failed: No chain/target/match by that name.' }
    lines.push(builtIn ? `-P ${chain} ACCEPT -c 5 500` : `-N ${chain}`)
    for (const { rule, packets } of rules ?? [])
      lines.push(`-A ${chain} ${rule}`.replace(/(?= -[jg] \S+(?: --\S+ \S+)*$)/, ` -c ${packets} 60`))
  }
  function print() {
    return lines.map((line) => `${line}\n`).join('')
  }
  return { code: 0, stdout: print(), stderr: '' }
}

/** Executes a line of iptables-restore. Gives the line that the monitor reports. */
function change(chains: Chains, command: string): string | undefined {
  const [, word = '', name = '', rest = ''] = /^(:|-\w )(\S+) ?(.*)$/.exec(command) ?? []
  const rules = chains.get(name) ?? []
  if (word === ':') {
    const isNew = !chains.has(name)
    chains.set(name, [])
    return isNew ? `create chain TABLE ${name}` : undefined
  }
  if (!chains.has(name) && !HOOKS.includes(name)) return 'failed'
  if (word === '-A ') chains.set(name, [...rules, rest])
  if (word === '-I ') chains.set(name, [rest.replace(/^1 /, ''), ...rules])
  if (word === '-F ') chains.set(name, [])
  if (word === '-X ') chains.delete(name)
  if (word === '-D ') {
    if (!rules.includes(rest)) return 'failed'
    chains.set(name, rules.toSpliced(rules.indexOf(rest), 1))
  }
  return `${word === '-I ' ? 'insert' : 'add'} rule TABLE ${name} counter packets 0 bytes 0`
}

function print(tables: ReadonlyMap<IptablesTable, Chains>): string {
  return [...tables]
    .map(([table, chains]) => {
      const names = [...chains.keys()]
      const rules = [...chains].flatMap(([name, of]) => of.map((rule) => `[0:0] -A ${name} ${rule}`))
      const declared = names.map((name) => `:${name} ${HOOKS.includes(name) ? 'ACCEPT' : '-'} [0:0]`)
      return [`*${table}`, ...declared, ...rules, 'COMMIT', ''].join('\n')
    })
    .join('')
}
