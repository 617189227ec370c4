import type { Place } from '../rules/iptables.ts'
import { collectRules, type SavedRules } from './saved.ts'

/** The listing of one chain: its rules as iptables-save(8) prints them, without `-A CHAIN `, and their packets. */
export type ChainListing = {
  readonly place: Place
  readonly rules: readonly { readonly rule: string; readonly packets: number }[]
}

/**
 * Input of `iptables-nft-restore --noflush` that lists these chains, in this order, and changes nothing. It takes one
 * process for all of them, loads no other chains, and creates no table.
 */
export function listInput(places: readonly Place[]): string {
  const lines = places.map(({ table, chain }, index) => {
    const follows = places[index - 1]?.table === table
    const begins = follows ? '' : `${index > 0 ? 'COMMIT\n' : ''}*${table}\n`
    return `${begins}-v -S ${chain}\n`
  })
  return lines.length > 0 ? `${lines.join('')}COMMIT\n` : ''
}

/**
 * Returns whether a line of that output matters; to be called for each line in order. Of a built-in chain, the first rule and those that
 * mention our chains do.
 *
 * @param preceding see `Iptables.precedingJump`: the rule after that one matters, too
 */
export function relevantListedLines(prefix: string, preceding?: string): (line: string) => boolean {
  let afterHeader = false
  return (line) => {
    const isFirst = afterHeader
    const isHeader = line.startsWith('-P ') || line.startsWith('-N ')
    afterHeader = isHeader || (isFirst && preceding !== undefined && line.includes(preceding))
    return isHeader || isFirst || line.includes(prefix)
  }
}

/** Parses that output, which ends before the first chain that does not exist. */
export function parseListings(output: string, places: readonly Place[]): readonly ChainListing[] {
  const listed: { place: Place; rules: { rule: string; packets: number }[] }[] = []
  for (const line of output.split('\n')) {
    const header = /^-[NP] (\S+)/.exec(line)?.[1]
    if (header !== undefined) {
      const place = places[listed.length]
      if (place?.chain !== header) break
      listed.push({ place, rules: [] })
      continue
    }
    const last = listed.at(-1)
    const rule = /^-A \S+ ?(.*)$/.exec(line)?.[1]
    if (last !== undefined && rule !== undefined) last.rules.push(withoutCounters(rule))
  }
  return listed
}

/** Collects from these listings what concerns us. */
export function savedOf(listed: readonly ChainListing[], prefix: string, preceding?: string): SavedRules {
  const found = collectRules(prefix, preceding)
  for (const { place } of listed) found.declare(place.table, place.chain)
  for (const { place, rules } of listed)
    for (const { rule, packets } of rules) found.take(place.table, place.chain, rule, packets)
  return found.saved
}

/** `-c PACKETS BYTES` is between matches and target here, and before the rule in iptables-save. A comment may contain it too. */
const COUNTERS = /"(?:[^"\\]|\\.)*"|(?:^| )-c (\d+) \d+(?= |$)/g

function withoutCounters(text: string): { rule: string; packets: number } {
  let packets = 0
  const rule = text.replace(COUNTERS, (word, count: string | undefined) => {
    if (count === undefined) return word
    packets = Number(count)
    return ''
  })
  return { rule: rule.trimStart(), packets }
}
