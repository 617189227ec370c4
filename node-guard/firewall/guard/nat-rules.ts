import { readFile } from 'node:fs/promises'
import { type Exec, firstLine } from '../exec.ts'

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

/** Of each word: whoever makes many rules of one must not hide those of another. */
const MAX_RULES = 100
const COMMANDS = ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'] as const

/**
 * Reads the nat tables of iptables of either kind and family, and keeps of the rules that contain one of these words the
 * first hundred of each.
 *
 * @param tablesOf text of /proc/net/ip_tables_names or ip6_tables_names; empty where there is none
 */
export async function readNatRules(
  exec: Exec,
  words: readonly string[],
  tablesOf: (family: 'ip' | 'ip6') => Promise<string> = legacyTables,
): Promise<NatRules> {
  const rules: NatRule[] = []
  const unread: string[] = []
  const keepLine = (line: string) => line.startsWith('-A ') && words.some((word) => line.includes(word))
  for (const command of COMMANDS) {
    const legacy = command.endsWith('legacy')
    // Asking iptables-legacy for a table that is not there would make the kernel load it.
    const family = command.startsWith('ip6') ? 'ip6' : 'ip'
    if (legacy && !(await tablesOf(family)).split('\n').includes('nat')) continue
    const result = await exec(`${command}-save`, ['-t', 'nat'], { keepLine })
    if (result.code === 0) {
      const lines = result.stdout.split('\n').filter((line) => line !== '')
      rules.push(...lines.map((rule) => ({ command, rule })))
    } else if (!isWithoutNfTables(result.stderr)) {
      const remedy = legacy
        ? `give this container NET_RAW, or look on the node: ${command} -t nat -S`
        : `use the pod2iam image, or look on the node: ${command} -t nat -S`
      unread.push(`the nat table of ${command} could not be read (${firstLine(result)}): ${remedy}`)
    }
  }
  const kept = words.flatMap((word) => rules.filter(({ rule }) => rule.includes(word)).slice(0, MAX_RULES))
  return { rules: [...new Set(kept)], unread }
}

/** A kernel without nf_tables, or without this family, has no such rules. */
const isWithoutNfTables = (stderr: string) =>
  /protocol not supported|failed to initialize nft|address family not supported/i.test(stderr)

const legacyTables = (family: 'ip' | 'ip6') =>
  readFile(`/proc/net/${family}_tables_names`, 'utf8').catch(() => '')
