/** What a table consists of if it was loaded completely and nothing was added. */
export type TableShape = {
  /** Rules by chain. */
  readonly chains: Readonly<Record<string, number>>
  readonly sets: readonly string[]
}

/** The content of an nft table, in a form in which two readings can be compared. */
export type TableContent = {
  /** Canonical text of table flags, chains, rules in order, sets and elements; without handles and counts. */
  readonly text: string
  /** Packets by named counter. */
  readonly packets: Readonly<Record<string, number>>
  /** Elements that packets added, by set; not part of `text`. */
  readonly added: Readonly<Record<string, readonly AddedElement[]>>
  /** Rules by chain, sets, and whether there is anything else, such as maps or flags of the table. */
  readonly shape: TableShape & { readonly more: boolean }
}

/** An element that packets added to a set. */
export type AddedElement = {
  readonly value: string
  readonly packets: number
  /** Seconds until it expires, unless another packet comes. */
  readonly expires: number
}

type Json = Readonly<Record<string, unknown>>

/** Whether a table consists of what was loaded: as many rules in each chain, and nothing else. */
export function hasShape({ shape }: TableContent, { chains, sets }: TableShape): boolean {
  const keys = Object.keys(chains)
  return (
    !shape.more &&
    keys.length === Object.keys(shape.chains).length &&
    keys.every((name) => shape.chains[name] === chains[name]) &&
    canonical(sorted(shape.sets)) === canonical(sorted(sets))
  )
}

/**
 * Parses the JSON of `nft --json list table` (libnftables-json(5)). Throws a SyntaxError where it is not JSON.
 */
export function parseTable(output: string): TableContent {
  const parts = noParts()
  for (const entry of objects(JSON.parse(output))) take(parts, entry)
  const lines = [
    ...sorted(parts.tables),
    ...sorted(parts.chains),
    ...[...parts.rules.keys()].sort().flatMap((chain) => parts.rules.get(chain) ?? []),
    ...[...parts.elements.keys()]
      .sort()
      .map((set) => `${set} ${sorted(parts.elements.get(set) ?? []).join(' ')}`),
    ...Object.keys(parts.packets).sort(),
  ]
  const shape = { chains: parts.counts, sets: parts.sets, more: parts.more }
  return { text: lines.join('\n'), packets: parts.packets, added: parts.added, shape }
}

type Parts = ReturnType<typeof noParts>

const noParts = () => ({
  tables: new Set<string>(),
  chains: new Set<string>(),
  rules: new Map<string, string[]>(),
  elements: new Map<string, Set<string>>(),
  packets: {} as Record<string, number>,
  added: {} as Record<string, readonly AddedElement[]>,
  counts: {} as Record<string, number>,
  sets: [] as string[],
  more: false,
})

function* objects(document: unknown): Generator<readonly [kind: string, object: Json]> {
  const list = (document as { nftables?: unknown }).nftables
  for (const item of Array.isArray(list) ? (list as Json[]) : []) {
    // An object, or a command with an object. `delete` echoes what the same transaction removed.
    if ('delete' in item) continue
    const bare = (item.add ?? item.insert ?? item) as Json
    for (const [kind, object] of Object.entries(bare)) yield [kind, object as Json]
  }
}

function take(parts: Parts, [kind, object]: readonly [string, Json]): void {
  const { handle: _, packets, bytes: __, elem, expr, ...rest } = object
  switch (kind) {
    case 'metainfo':
      return
    case 'table':
      parts.tables.add(canonical({ table: rest }))
      parts.more ||= rest.flags !== undefined
      return
    case 'chain':
      parts.counts[String(rest.name)] ??= 0
      parts.chains.add(canonical({ chain: rest }))
      return
    case 'rule': {
      const chain = String(rest.chain)
      const rules = parts.rules.get(chain) ?? []
      rules.push(canonical({ rule: rest, expr }))
      parts.counts[chain] = rules.length
      parts.rules.set(chain, rules)
      return
    }
    case 'counter':
      parts.packets[String(rest.name)] = Number(packets)
      return
    case 'set':
      parts.sets.push(String(rest.name))
      // Packets fill the sets that have a timeout; nft 1.0.6 does not print their flag `dynamic`.
      if (rest.timeout === undefined) addElements(parts, canonical({ set: rest.name }), elem)
      else parts.added[String(rest.name)] = addedElements(elem)
      // A set's flags and type are part of what it matches.
      parts.chains.add(canonical({ set: rest }))
      return
    case 'element':
      addElements(parts, canonical({ set: rest.name }), elem)
      return
    default:
      // An object that we never load, such as a map or a flowtable, makes the content differ.
      parts.tables.add(canonical({ [kind]: rest, elem, expr }))
      parts.more = true
  }
}

function addElements(parts: Parts, set: string, elements: unknown): void {
  const known = parts.elements.get(set) ?? new Set()
  // A set has a list of them; in an added element they are an expression, `{"set": [ … ]}`.
  const list = (elements as { set?: unknown } | undefined)?.set ?? elements
  for (const element of Array.isArray(list) ? list : []) known.add(canonical(element))
  parts.elements.set(set, known)
}

function addedElements(elements: unknown): AddedElement[] {
  const list = Array.isArray(elements) ? (elements as { elem?: Json }[]) : []
  return list.flatMap(({ elem }) => {
    const packets = (elem?.counter as { packets?: unknown } | undefined)?.packets
    if (typeof elem?.val !== 'string' || typeof packets !== 'number') return []
    return [{ value: elem.val, packets, expires: Number(elem.expires ?? 0) }]
  })
}

const sorted = (texts: Iterable<string>) => [...texts].sort()

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
