import { readFile } from 'node:fs/promises'
import { bounded } from '../process/bounded.ts'
import { type Exec, type ExecResult, firstLine, isTooBig } from '../process/exec.ts'
import { isLivingChain } from './living-chains.ts'

/** A rule of the node's iptables nat tables that concerns the metadata service or tells of a dataplane. */
export type NatRule = {
  /** The command that would change it. */
  readonly command: string
  /** As iptables-save(8) prints it: `-A CHAIN …`. */
  readonly rule: string
}

export type NatRules = {
  readonly rules: readonly NatRule[]
  /** One sentence for each table that could not be read. */
  readonly unread: readonly string[]
}

/** What is looked for. */
export type NatQuestion = {
  /** Of rules that contain one of these. */
  readonly words: readonly string[]
  /** In these chains… */
  readonly chains: readonly string[]
  /** …and, with `follow`, in those to which they lead. */
  readonly follow: boolean
}

/** Where kube2iam, kiam and their like append what takes the traffic of these addresses. */
export const takingTraffic = (metadata: readonly string[]): NatQuestion => ({
  words: metadata,
  chains: ['PREROUTING', 'OUTPUT'],
  follow: true,
})

/** Of each word: whoever makes many rules of one must not hide those of another. */
const MAX_RULES = 100
/** Chains to which a built-in one leads. */
const MAX_FOLLOWED = 16
const COMMANDS = ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'] as const
/** Targets that are no chains. */
const TARGETS = /^(?:ACCEPT|DROP|RETURN|DNAT|SNAT|MASQUERADE|REDIRECT|MARK|LOG)$/

/**
 * Reads the nat tables of iptables of either kind and family, and keeps of the rules that contain one of these words the
 * first hundred of each. Each program that does it is small and short, or killed: of nf_tables the chains are read one by one,
 * since the table holds all of kube-proxy's rules; of iptables-legacy there is only the whole table, which is read where it
 * is small.
 *
 * @param tablesOf text of /proc/net/ip_tables_names or ip6_tables_names; empty where there is none
 */
export async function readNatRules(
  exec: Exec,
  question: NatQuestion,
  tablesOf: (family: 'ip' | 'ip6') => Promise<string> = legacyTables,
): Promise<NatRules> {
  const { words } = question
  const rules: NatRule[] = []
  const unread: string[] = []
  for (const command of COMMANDS) {
    const legacy = command.endsWith('legacy')
    // Asking iptables-legacy for a table that is not there would make the kernel load it.
    const family = command.startsWith('ip6') ? 'ip6' : 'ip'
    if (legacy && !(await tablesOf(family)).split('\n').includes('nat')) continue
    const found = await (legacy ? readTable : readChains)(bounded(exec), command, question)
    rules.push(...found.lines.map((rule) => ({ command, rule })))
    if (found.failed !== undefined && !isWithoutNfTables(found.failed.stderr))
      unread.push(whyUnread(command, found.failed))
  }
  const kept = words.flatMap((word) => rules.filter(({ rule }) => rule.includes(word)).slice(0, MAX_RULES))
  return { rules: [...new Set(kept)], unread }
}

type Found = {
  readonly lines: readonly string[]
  readonly failed: ExecResult | undefined
}

/** Of iptables-legacy: the chains do not matter, the kernel hands out all. */
async function readTable(exec: Exec, command: string, { words }: NatQuestion): Promise<Found> {
  const keepLine = (line: string) => line.startsWith('-A ') && words.some((word) => line.includes(word))
  const result = await exec(`${command}-save`, ['-t', 'nat'], { keepLine })
  return result.code === 0 ? { lines: linesOf(result), failed: undefined } : { lines: [], failed: result }
}

/** Of nf_tables. */
async function readChains(exec: Exec, command: string, question: NatQuestion): Promise<Found> {
  const lines: string[] = []
  const asked = new Set(question.chains)
  let failed: ExecResult | undefined
  for (const chain of asked) {
    const targets = new Set<string>()
    const keepLine = (line: string) => {
      if (!line.startsWith('-A ')) return false
      if (targets.size < MAX_FOLLOWED) targets.add(targetOf(line))
      return question.words.some((word) => line.includes(word))
    }
    // It holds no lock of the kernel, for which a repair could come to wait behind it.
    const result = await exec(command, ['-t', 'nat', '-S', chain], { keepLine, yielding: true })
    if (result.code === 0) lines.push(...linesOf(result))
    else if (BUILT_IN.has(chain) || !NO_CHAIN.test(result.stderr)) failed ??= result
    if (failed !== undefined) break
    if (question.follow && BUILT_IN.has(chain))
      // Of what living programs keep nothing is a leftover, and kube-proxy's chains hold a rule for each Service.
      for (const target of targets) if (!TARGETS.test(target) && !isLivingChain(target)) asked.add(target)
  }
  return { lines, failed }
}

const BUILT_IN: ReadonlySet<string> = new Set(['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'])
/** Said of a chain that is not there, which may be a target's name too; by iptables 1.8.9 in the second form. */
const NO_CHAIN = /no chain\/target\/match by that name|chain `[^']+' in table `nat' is incompatible/i

const targetOf = (line: string) =>
  / -[jg] (\S+)/.exec(line.replace(/"(?:[^"\\]|\\.)*"/g, ''))?.[1] ?? 'ACCEPT'
const linesOf = ({ stdout }: ExecResult) => stdout.split('\n').filter((line) => line !== '')

function whyUnread(command: string, failed: ExecResult): string {
  const look = `look on the node: ${command} -t nat -S`
  if (isTooBig(failed))
    return `the nat table of ${command} is too big to be read within this container’s bounds (${firstLine(failed)}): ${look}`
  const remedy = command.endsWith('legacy') ? 'give this container NET_RAW' : 'use the pod2iam image'
  return `the nat table of ${command} could not be read (${firstLine(failed)}): ${remedy}, or ${look}`
}

/** A kernel without nf_tables, or without this family, has no such rules. */
const isWithoutNfTables = (stderr: string) =>
  /protocol not supported|failed to initialize nft|address family not supported/i.test(stderr)

const legacyTables = (family: 'ip' | 'ip6') =>
  readFile(`/proc/net/${family}_tables_names`, 'utf8').catch(() => '')
