import { bounded } from '../process/bounded.ts'
import { type Exec, type ExecResult, firstLine, isTooBig } from '../process/exec.ts'
import { isMaintainedChain } from './maintained-chains.ts'
import { legacyTables, NODE_FILES, type NodeFiles } from './node-files.ts'

/** A rule of the node's iptables nat tables that concerns the metadata service or identifies a dataplane. */
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

/** Which rules to look for. */
export type NatQuery = {
  /** Rules that contain one of these… */
  readonly texts: readonly string[]
  /** …in these chains… */
  readonly chains: readonly string[]
  /** …and, with `follow`, in chains to which these jump. */
  readonly follow: boolean
}

/** Queries rules that may redirect the traffic to these addresses, in the chains to which kube2iam, kiam and similar tools append them. */
export const redirectsOf = (metadata: readonly string[]): NatQuery => ({
  texts: metadata,
  chains: ['PREROUTING', 'OUTPUT'],
  follow: true,
})

/** For each text, so that many rules with one do not hide those with another. */
const MAX_RULES = 100
/** Chains to which a built-in one jumps. */
const MAX_FOLLOWED = 16
const COMMANDS = ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'] as const
/** Targets that are not chains. */
const TARGETS = /^(?:ACCEPT|DROP|RETURN|DNAT|SNAT|MASQUERADE|REDIRECT|MARK|LOG)$/

/**
 * Reads the nat tables of iptables of both variants and families, and keeps the first hundred rules for each text of the
 * query. The programs it runs are limited in memory and time. With nf_tables single chains are read, since the table has
 * all rules of kube-proxy; iptables-legacy can only read the whole table, which succeeds where that is small.
 */
export async function readNatRules(
  exec: Exec,
  question: NatQuery,
  node: Pick<NodeFiles, 'read'> = NODE_FILES,
): Promise<NatRules> {
  const { texts } = question
  const rules: NatRule[] = []
  const unread: string[] = []
  for (const command of COMMANDS) {
    const legacy = command.endsWith('legacy')
    // Listing a table of iptables-legacy that is not loaded would make the kernel load it.
    const family = command.startsWith('ip6') ? 6 : 4
    if (legacy && !(await legacyTables(node, family)).includes('nat')) continue
    const found = await (legacy ? readTable : readChains)(bounded(exec), command, question)
    rules.push(...found.lines.map((rule) => ({ command, rule })))
    if (found.failed !== undefined && !isWithoutNfTables(found.failed.stderr))
      unread.push(whyUnread(command, found.failed))
  }
  const kept = texts.flatMap((text) => rules.filter(({ rule }) => rule.includes(text)).slice(0, MAX_RULES))
  return { rules: [...new Set(kept)], unread }
}

/** Reads by iptables-legacy, regardless of the chains: the kernel returns the whole table. */
async function readTable(exec: Exec, command: string, { texts }: NatQuery) {
  const keepLine = (line: string) => line.startsWith('-A ') && texts.some((text) => line.includes(text))
  const result = await exec(`${command}-save`, ['-t', 'nat'], { keepLine })
  return result.code === 0 ? { lines: linesOf(result), failed: undefined } : { lines: [], failed: result }
}

/** Reads by iptables-nft, chain by chain. */
async function readChains(exec: Exec, command: string, question: NatQuery) {
  const lines: string[] = []
  const asked = new Set(question.chains)
  let failed: ExecResult | undefined
  for (const chain of asked) {
    const targets = new Set<string>()
    const keepLine = (line: string) => {
      if (!line.startsWith('-A ')) return false
      if (targets.size < MAX_FOLLOWED) targets.add(targetOf(line))
      return question.texts.some((text) => line.includes(text))
    }
    // Listing holds no lock of the kernel, so that no repair waits for a process of low priority.
    const result = await exec(command, ['-t', 'nat', '-S', chain], { keepLine, lowPriority: true })
    if (result.code === 0) lines.push(...linesOf(result))
    else if (BUILT_IN.has(chain) || !NO_CHAIN.test(result.stderr)) failed ??= result
    if (failed !== undefined) break
    if (question.follow && BUILT_IN.has(chain))
      // A chain that a program maintains contains no leftovers, and those of kube-proxy contain a rule for each Service.
      for (const target of targets) if (!TARGETS.test(target) && !isMaintainedChain(target)) asked.add(target)
  }
  return { lines, failed }
}

const BUILT_IN: ReadonlySet<string> = new Set(['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'])
/** The message for a chain that does not exist (the name may be that of a target); the second form is of iptables 1.8.9. */
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

/** A kernel without nf_tables or without this family has no such rules. */
const isWithoutNfTables = (stderr: string) =>
  /protocol not supported|failed to initialize nft|address family not supported/i.test(stderr)
