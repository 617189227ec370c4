/** IP packets as bytes, valid or invalid as requested. Pure. RFC 791, 793, 8200; RFC 8754 for segment routing. */
import { isIP } from 'node:net'

export const PROTOCOL = {
  hopByHop: 0,
  icmp: 1,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  icmpv6: 58,
  destination: 60,
}

/** An address as 4 or 16 bytes. */
export function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail] = address.split('::')
  const groups = (text: string | undefined) => (text ? text.split(':') : [])
  const [before, after] = [groups(head), groups(tail)]
  const zeros = Array<string>(8 - before.length - after.length).fill('0')
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join(''), 'hex')
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Buffer): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

export type Ipv4 = {
  readonly source: string
  readonly destination: string
  readonly protocol: number
  readonly id: number
  readonly ttl: number
  /** A multiple of four bytes, at most 40. */
  readonly options: Buffer
  /** In bytes, a multiple of eight. */
  readonly fragmentOffset?: number
  readonly moreFragments?: boolean
  readonly payload: Buffer
}

/** An IPv4 packet with a correct header checksum. */
export function ipv4(packet: Ipv4): Buffer {
  const { options, payload, fragmentOffset = 0, moreFragments = false } = packet
  const header = Buffer.alloc(20 + options.length)
  header[0] = 0x40 | (header.length / 4)
  header.writeUInt16BE(header.length + payload.length, 2)
  header.writeUInt16BE(packet.id, 4)
  header.writeUInt16BE((moreFragments ? 0x2000 : 0) | (fragmentOffset / 8), 6)
  header[8] = packet.ttl
  header[9] = packet.protocol
  addressBytes(packet.source).copy(header, 12)
  addressBytes(packet.destination).copy(header, 16)
  options.copy(header, 20)
  header.writeUInt16BE(checksum(header), 10)
  return Buffer.concat([header, payload])
}

export type ExtensionHeader = { readonly protocol: number; readonly body: Buffer }

export type Ipv6 = {
  readonly source: string
  readonly destination: string
  readonly protocol: number
  /** The flow label, 20 bits. */
  readonly id: number
  readonly ttl: number
  /** In order; each body is complete except for its first byte, the next header. */
  readonly extensions: readonly ExtensionHeader[]
  readonly payload: Buffer
}

/** An IPv6 packet with its chain of extension headers. */
export function ipv6(packet: Ipv6): Buffer {
  const { extensions, payload } = packet
  const protocols = [...extensions.map(({ protocol }) => protocol), packet.protocol]
  const chain = extensions.map(({ body }, index) => {
    const copy = Buffer.from(body)
    copy[0] = protocols[index + 1] ?? packet.protocol
    return copy
  })
  const rest = Buffer.concat([...chain, payload])
  const header = Buffer.alloc(40)
  header.writeUInt32BE(0x60000000 + packet.id, 0)
  header.writeUInt16BE(rest.length, 4)
  header[6] = protocols[0] ?? packet.protocol
  header[7] = packet.ttl
  addressBytes(packet.source).copy(header, 8)
  addressBytes(packet.destination).copy(header, 24)
  return Buffer.concat([header, rest])
}

/** A fragment header: `offset` in bytes, a multiple of eight. */
export function fragmentHeader(id: number, offset: number, more: boolean): ExtensionHeader {
  const body = Buffer.alloc(8)
  body.writeUInt16BE(offset | (more ? 1 : 0), 2)
  body.writeUInt32BE(id, 4)
  return { protocol: PROTOCOL.fragment, body }
}

export type Transport = {
  readonly protocol: number
  readonly port: number
  /** TCP only. */
  readonly flags: number
  readonly data: Buffer
  readonly rightChecksum: boolean
}

/** What an IP packet carries: a TCP segment, a datagram, an echo request, or the bare data of any other protocol. */
export function transport(source: string, destination: string, options: Transport): Buffer {
  const { protocol, data } = options
  const segment = bare(options)
  const field = CHECKSUM_AT[protocol]
  if (field === undefined) return Buffer.concat([segment, data])
  const whole = Buffer.concat([segment, data])
  const covered =
    protocol === PROTOCOL.icmp
      ? whole
      : Buffer.concat([pseudoHeader(source, destination, protocol, whole), whole])
  whole.writeUInt16BE(options.rightChecksum ? checksum(covered) : 0xbad, field)
  return whole
}

const CHECKSUM_AT: Readonly<Record<number, number>> = {
  [PROTOCOL.tcp]: 16,
  [PROTOCOL.udp]: 6,
  [PROTOCOL.icmp]: 2,
  [PROTOCOL.icmpv6]: 2,
}
const SOURCE_PORT = 40_000

function bare({ protocol, port, flags, data }: Transport): Buffer {
  switch (protocol) {
    case PROTOCOL.tcp: {
      const header = Buffer.alloc(20)
      header.writeUInt16BE(SOURCE_PORT, 0)
      header.writeUInt16BE(port, 2)
      header.writeUInt32BE(1, 4)
      header[12] = 5 << 4
      header[13] = flags
      header.writeUInt16BE(64_240, 14)
      return header
    }
    case PROTOCOL.udp: {
      const header = Buffer.alloc(8)
      header.writeUInt16BE(SOURCE_PORT, 0)
      header.writeUInt16BE(port, 2)
      header.writeUInt16BE(8 + data.length, 4)
      return header
    }
    case PROTOCOL.icmp:
      return Buffer.from([8, 0, 0, 0, 0, 1, 0, 1])
    case PROTOCOL.icmpv6:
      return Buffer.from([128, 0, 0, 0, 0, 1, 0, 1])
    default:
      return Buffer.alloc(0)
  }
}

function pseudoHeader(source: string, destination: string, protocol: number, whole: Buffer): Buffer {
  const tail = Buffer.alloc(8)
  tail.writeUInt32BE(whole.length, 0)
  tail[7] = protocol
  // That of IPv4 has the same words in another order, which does not change the sum.
  return Buffer.concat([addressBytes(source), addressBytes(destination), tail])
}
