/** Packets that a pod may send to reach the metadata service, drawn at random from a seed. */
import fc from 'fast-check'
import { METADATA_ADDRESSES } from '../../../common/addresses.ts'
import {
  addressBytes,
  type ExtensionHeader,
  fragmentHeader,
  ipv4,
  ipv6,
  PROTOCOL,
  transport,
} from './bytes.ts'

const [METADATA4, METADATA6] = METADATA_ADDRESSES

/** One packet to try. Failures and counts use its words. */
export type Shape = {
  readonly family: 4 | 6
  /** Identifies the packet at the receiver: IPv4's identification, or IPv6's flow label. */
  readonly id: number
  readonly protocol: keyof typeof PROTOCOLS
  readonly source: SourceName
  /** IPv4 options, or IPv6 extension headers. */
  readonly extras: readonly ExtraName[]
  readonly cut: Cut
  /** The destination of the frame: the node, broadcast, or the other pod. */
  readonly frame: 'gateway' | 'broadcast' | 'neighbour'
  readonly ttl: number
  readonly port: number
  readonly flags: number
  readonly size: number
  readonly rightChecksum: boolean
}

const PROTOCOLS = { tcp: 6, udp: 17, icmp: 1, icmpv6: 58, sctp: 132, gre: 47, ipip: 4, raw: 99 } as const

const SOURCES = {
  own: ['10.244.1.11', 'fd00:244::11'],
  'other pod': ['10.244.1.12', 'fd00:244::12'],
  node: ['10.0.0.10', 'fd00:10::10'],
  loopback: ['127.0.0.1', '::1'],
  broker: ['169.254.170.24', 'fd00:70d2:1a::24'],
  elsewhere: ['192.0.2.9', 'fd00:dead::9'],
  'link-local': ['169.254.7.7', 'fe80::7'],
} as const
type SourceName = keyof typeof SOURCES

type Extra4 =
  | 'record route'
  | 'timestamp'
  | 'router alert'
  | 'no operation'
  | 'unknown option'
  | 'LSRR'
  | 'SSRR'
  | 'LSRR by hand'
type Extra6 =
  | 'hop-by-hop'
  | 'destination'
  | 'routing type 0'
  | 'segment routing'
  | 'unknown routing'
  | 'atomic fragment'
type ExtraName = Extra4 | Extra6

/** How a packet is cut into fragments. */
type Cut = (typeof CUTS)[number]
const CUTS = ['whole', 'tiny', 'reversed', 'overlapping', 'first only', 'rest only'] as const

/** Source-routed packets are for the node, which then replaces its own address by the last one of the list. */
const NODE = ['10.0.0.10', 'fd00:10::10'] as const
const ROUTED_ON: readonly ExtraName[] = ['LSRR', 'SSRR', 'segment routing', 'routing type 0']

/** "No operation" as padding, since "end of list" would hide an option after it. */
const NOP = 1

/** Options of an IPv4 packet whose list of addresses ends at the metadata service. */
const OPTIONS: Readonly<Record<Extra4, readonly number[]>> = {
  'record route': [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, NOP],
  timestamp: [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  'router alert': [148, 4, 0, 0],
  'no operation': [NOP, NOP, NOP, NOP],
  'unknown option': [158, 4, 7, 7],
  LSRR: [131, 7, 4, ...addressBytes(METADATA4), NOP],
  SSRR: [137, 7, 4, ...addressBytes(METADATA4), NOP],
  // The list is already used up: the packet claims to have been routed by the node.
  'LSRR by hand': [131, 7, 8, ...addressBytes(NODE[0]), NOP],
}

const options8 = (first: number, ...rest: number[]) =>
  Buffer.from([0, 0, first, ...rest, ...Array(5 - rest.length).fill(0)])
const route = (type: number, left: number, ...addresses: string[]) => {
  const body = Buffer.concat([Buffer.alloc(8), ...addresses.map(addressBytes)])
  body[1] = addresses.length * 2
  body[2] = type
  body[3] = left
  if (type === 4) body[4] = addresses.length - 1
  return body
}

const EXTENSIONS: Readonly<Record<Extra6, ExtensionHeader>> = {
  'hop-by-hop': { protocol: PROTOCOL.hopByHop, body: options8(1, 4) },
  destination: { protocol: PROTOCOL.destination, body: options8(1, 4) },
  'routing type 0': { protocol: PROTOCOL.routing, body: route(0, 1, METADATA6) },
  'segment routing': { protocol: PROTOCOL.routing, body: route(4, 1, METADATA6, NODE[1]) },
  'unknown routing': { protocol: PROTOCOL.routing, body: route(253, 0, METADATA6) },
  'atomic fragment': fragmentHeader(7, 0, false),
}

/** Names of extra headers, each at most once; hop-by-hop must come first (RFC 8200), all else in any order. */
const extras4 = fc.subarray(Object.keys(OPTIONS) as Extra4[], { maxLength: 2 })
const extras6 = fc
  .shuffledSubarray(Object.keys(EXTENSIONS) as Extra6[], { maxLength: 3 })
  .map((names) => names.toSorted((a, b) => Number(b === 'hop-by-hop') - Number(a === 'hop-by-hop')))

/** Often no extra, since one that stops a packet would hide its other properties. */
const orNone = <T>(arbitrary: fc.Arbitrary<readonly T[]>) =>
  fc.oneof({ arbitrary: fc.constant<readonly T[]>([]), weight: 1 }, { arbitrary, weight: 2 })

const common = {
  id: fc.constant(0),
  source: fc.constantFrom(...(Object.keys(SOURCES) as SourceName[])),
  cut: fc.oneof(
    { arbitrary: fc.constant<Cut>('whole'), weight: 5 },
    { arbitrary: fc.constantFrom(...CUTS), weight: 5 },
  ),
  frame: fc.oneof(
    { arbitrary: fc.constant<Shape['frame']>('gateway'), weight: 8 },
    { arbitrary: fc.constantFrom<Shape['frame']>('broadcast', 'neighbour'), weight: 1 },
  ),
  ttl: fc.constantFrom(64, 255, 2, 1),
  port: fc.constantFrom(80, 443, 53, 65_535),
  // Mostly SYN, and otherwise any value of the six bits.
  flags: fc.oneof(fc.constant(2), fc.integer({ min: 0, max: 63 })),
  size: fc.constantFrom(0, 1, 64, 1200),
  rightChecksum: fc.oneof(
    { arbitrary: fc.constant(true), weight: 4 },
    { arbitrary: fc.constant(false), weight: 1 },
  ),
}

const shape = fc.oneof(
  fc.record({
    ...common,
    family: fc.constant<4>(4),
    protocol: fc.constantFrom<Shape['protocol'][]>('tcp', 'udp', 'icmp', 'sctp', 'gre', 'ipip', 'raw'),
    extras: orNone<ExtraName>(extras4),
  }),
  fc.record({
    ...common,
    family: fc.constant<6>(6),
    protocol: fc.constantFrom<Shape['protocol'][]>('tcp', 'udp', 'icmpv6', 'sctp', 'gre', 'ipip', 'raw'),
    extras: orNone<ExtraName>(extras6),
  }),
)

/** `count` shapes, the same for the same seed, each with an id of its own. */
export function drawShapes(seed: number, count: number): Shape[] {
  return fc.sample(shape, { seed, numRuns: count }).map((drawn, index) => ({ ...drawn, id: index + 1 }))
}

/** The properties of a shape in words, each of which may arrive or not. */
export function traits({
  family,
  protocol,
  source,
  extras,
  cut,
  frame,
  ttl,
  rightChecksum,
}: Shape): string[] {
  const words = [
    protocol,
    `from ${source}`,
    ...(extras.length === 0 ? ['plain'] : extras),
    cut,
    `to ${frame}`,
    `ttl ${ttl}`,
  ]
  return [...words, rightChecksum ? 'right checksum' : 'wrong checksum'].map(
    (word) => `IPv${family}: ${word}`,
  )
}

/** A shape as IP packets, in the order in which they are sent. */
export function packetsOf(shape: Shape): Buffer[] {
  const index = shape.family === 4 ? 0 : 1
  const source = SOURCES[shape.source][index]
  const routed = shape.extras.some((name) => ROUTED_ON.includes(name))
  const destination = routed ? NODE[index] : METADATA_ADDRESSES[index]
  const protocol = PROTOCOLS[shape.protocol]
  const whole = transport(source, destination, {
    protocol,
    port: shape.port,
    flags: shape.flags,
    data: Buffer.alloc(shape.size, 'x'),
    rightChecksum: shape.rightChecksum,
  })
  const base = { source, destination, protocol, id: shape.id, ttl: shape.ttl }
  const options = Buffer.concat(shape.extras.map((name) => Buffer.from(OPTIONS[name as Extra4] ?? [])))
  const extensions = shape.extras.flatMap((name) => EXTENSIONS[name as Extra6] ?? [])
  return pieces(whole, shape.cut).map(({ offset, more, payload }) => {
    if (shape.family === 4)
      return ipv4({ ...base, options, payload, fragmentOffset: offset, moreFragments: more })
    const cut = shape.cut === 'whole' ? [] : [fragmentHeader(shape.id, offset, more)]
    return ipv6({ ...base, extensions: [...extensions, ...cut], payload })
  })
}

type Piece = { readonly offset: number; readonly more: boolean; readonly payload: Buffer }

const TINY = 8

/** Splits a payload; the tiny first piece of a TCP segment ends before its flags (RFC 1858). */
function pieces(whole: Buffer, cut: Cut): Piece[] {
  const piece = (from: number, to: number): Piece => ({
    offset: from,
    more: to < whole.length,
    payload: whole.subarray(from, to),
  })
  if (cut === 'whole' || whole.length <= TINY) return [{ offset: 0, more: false, payload: whole }]
  const half = Math.max(TINY, Math.floor(whole.length / 2 / 8) * 8)
  switch (cut) {
    case 'tiny':
      return [piece(0, TINY), piece(TINY, whole.length)]
    case 'reversed':
      return [piece(half, whole.length), piece(0, half)]
    case 'overlapping':
      return [piece(0, Math.min(half + 8, whole.length - 1) & ~7), piece(half - 8, whole.length)]
    case 'first only':
      return [piece(0, half)]
    case 'rest only':
      return [piece(half, whole.length)]
  }
}
