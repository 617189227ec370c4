import type { AddedElement, TableContent } from '../nft/table-content.ts'
import { AUDIT_SECONDS, MAX_AUDIT_SOURCES, SIGHTS, type Sight } from '../rules/guard-nft.ts'

/**
 * `direct`: sent to the real endpoint. `dnat`: another tool's DNAT sent it elsewhere (as kube2iam's and kiam's does), or
 * sent it there from another address.
 */
type Via = 'direct' | 'dnat'
export const VIAS = ['direct', 'dnat'] as const satisfies readonly Via[]

/** An address that sent packets to the metadata service. */
export type Sighting = {
  readonly address: string
  readonly via: Via
  readonly packets: number
  /** When this process first saw it, ISO 8601; earlier packets are not known. */
  readonly firstSeen: string
  /** ISO 8601. */
  readonly lastSeen: string
}

export type Sightings = ReturnType<typeof createSightings>

/** How many `firewall status` shows at most: more than the pods of a node. */
const MAX_LISTED = 512

type Totals = Record<Sight, number>
type Seen = {
  readonly totals: Totals
  readonly shown: Record<Via, number>
  /** Milliseconds; 0 where it was not seen. */
  readonly first: Record<Via, number>
  readonly at: Record<Via, number>
}

/**
 * Adds up what the kernel counts in audit mode, across repairs and restarts of its counters.
 *
 * @param now milliseconds
 */
export function createSightings(now: () => number) {
  const byAddress = new Map<string, Seen>()
  const all = newSeen()
  let last = new Map<string, number>()
  let full = false

  /** Packets since the last reading. A source that the kernel had dropped from its set starts at 0 again. */
  const since = (readings: Map<string, number>, key: string, packets: number) => {
    readings.set(key, packets)
    const before = last.get(key) ?? 0
    return packets >= before ? packets - before : packets
  }

  const take = (content: TableContent) => {
    const readings = new Map<string, number>()
    const askedAt = new Map<Seen, number>()
    for (const sight of SIGHTS)
      all.totals[sight] += since(readings, sight, content.packets[`audit_${sight}`] ?? 0)
    for (const { sight, set, value, packets, expires } of elementsOf(content)) {
      const seen = byAddress.get(value) ?? newSeen()
      byAddress.set(value, seen)
      seen.totals[sight] += since(readings, `${set} ${value}`, packets)
      const at = now() - (AUDIT_SECONDS - expires) * 1000
      if (sight === 'asked') askedAt.set(seen, at)
      else mark(seen, 'dnat', Math.max(seen.at.dnat, at))
    }
    last = readings
    full = Object.values(content.added).some(({ length }) => length >= MAX_AUDIT_SOURCES)
    for (const [seen, at] of askedAt) if (direct(seen.totals) > seen.shown.direct) mark(seen, 'direct', at)
    for (const seen of [all, ...byAddress.values()]) show(seen)
    forgetOldest(byAddress)
  }

  return {
    /** The table was created again: the kernel's counters start at zero. */
    restart: () => last.clear(),
    /** Takes a reading of the table of `auditRuleset`. */
    take,
    /** What this process has seen, the most recent first; at most 512. */
    list: () =>
      [...byAddress]
        .flatMap(([address, { shown, first, at }]) =>
          VIAS.map((via) => ({ address, via, packets: shown[via], first: first[via], at: at[via] })),
        )
        .filter(({ packets }) => packets > 0)
        .sort((a, b) => b.at - a.at)
        .slice(0, MAX_LISTED)
        .map(({ first, at, ...sighting }) => ({
          ...sighting,
          firstSeen: new Date(first).toISOString(),
          lastSeen: new Date(at).toISOString(),
        })),
    /** Packets since this process started; never decreasing. */
    packets: () => ({ ...all.shown }),
    /** The kernel's list of sources is full: further ones are counted, but not listed. */
    full: () => full,
  }
}

const newSeen = (): Seen => ({
  totals: { asked: 0, taken: 0, led: 0 },
  shown: { direct: 0, dnat: 0 },
  first: { direct: 0, dnat: 0 },
  at: { direct: 0, dnat: 0 },
})

/** The kernel keeps only the time of a source's last packet: its first one was up to a poll interval earlier. */
function mark({ first, at }: Seen, via: Via, time: number): void {
  first[via] ||= time
  at[via] = time
}

const direct = ({ asked, taken }: Totals) => asked - taken

/** The sets are read one after the other: a packet that is counted in between must not make a total decrease. */
function show({ totals, shown }: Seen): void {
  shown.direct = Math.max(shown.direct, direct(totals))
  shown.dnat = totals.taken + totals.led
}

/** The elements of the sets of `auditRuleset`. */
function elementsOf(content: TableContent): (AddedElement & { sight: Sight; set: string })[] {
  return SIGHTS.flatMap((sight) =>
    [`${sight}4`, `${sight}6`].flatMap((set) =>
      (content.added[set] ?? []).map((element) => ({ ...element, sight, set })),
    ),
  )
}

function forgetOldest(byAddress: Map<string, Seen>): void {
  if (byAddress.size <= MAX_AUDIT_SOURCES) return
  const lastSeen = ({ at }: Seen) => Math.max(at.direct, at.dnat)
  const oldestFirst = [...byAddress].sort(([, a], [, b]) => lastSeen(a) - lastSeen(b))
  for (const [address] of oldestFirst.slice(0, byAddress.size - MAX_AUDIT_SOURCES)) byAddress.delete(address)
}
