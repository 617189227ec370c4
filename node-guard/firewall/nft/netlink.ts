/**
 * Decodes the notifications of nftables that the kernel multicasts (NETLINK_NETFILTER, group NFNLGRP_NFTABLES) to lines in the
 * wording of `nft monitor`. Layout: linux/netlink.h, linux/netfilter/nfnetlink.h and nf_tables.h.
 */
import { endianness } from 'node:os'

/** struct nlmsghdr (16 bytes) and struct nfgenmsg (4 bytes). */
const HEADER = 20
const NFNL_SUBSYS_NFTABLES = 10
const NEWGEN = 15
/** nft_msg_types: the objects that are added and deleted, and the attribute with their name. */
const OBJECTS = new Map<
  number,
  { readonly verb: 'add' | 'delete'; readonly what: string; readonly name: number }
>([
  [0, { verb: 'add', what: 'table', name: 0 }],
  [2, { verb: 'delete', what: 'table', name: 0 }],
  [3, { verb: 'add', what: 'chain', name: 3 }],
  [5, { verb: 'delete', what: 'chain', name: 3 }],
  [6, { verb: 'add', what: 'rule', name: 2 }],
  [8, { verb: 'delete', what: 'rule', name: 2 }],
  [9, { verb: 'add', what: 'set', name: 2 }],
  [11, { verb: 'delete', what: 'set', name: 2 }],
  [12, { verb: 'add', what: 'element', name: 2 }],
  [14, { verb: 'delete', what: 'element', name: 2 }],
  [18, { verb: 'add', what: 'object', name: 2 }],
  [20, { verb: 'delete', what: 'object', name: 2 }],
  [22, { verb: 'add', what: 'flowtable', name: 2 }],
  [24, { verb: 'delete', what: 'flowtable', name: 2 }],
])
/** nfproto. */
const FAMILIES = new Map([
  [1, 'inet'],
  [2, 'ip'],
  [10, 'ip6'],
])
/** The attribute that names the table, in every message. */
const TABLE = 1
/** A longer message means that the stream contains something else. */
const MAX_MESSAGE = 1024 * 1024

/**
 * Creates the decoder of one stream. A chunk may end anywhere; the decoder returns the lines that it completed:
 * `add rule inet pod2iam_guard forward`, `delete table ip filter`, and `# new generation` where a transaction ends.
 *
 * @param tables `family name` of the tables that matter; others, of which there may be any number, give no lines
 * @throws an Error, from the decoder, if the stream does not consist of netlink messages
 */
export function netlinkLines(tables: readonly string[]): (chunk: Buffer) => readonly string[] {
  const native = endianness()
  const u16 = (bytes: Buffer, at: number) =>
    native === 'LE' ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)
  const u32 = (bytes: Buffer, at: number) =>
    native === 'LE' ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)
  let rest: Buffer = Buffer.alloc(0)

  const attribute = (message: Buffer, wanted: number): string | undefined => {
    for (let at = HEADER; at + 4 <= message.length; ) {
      const length = u16(message, at)
      if (length < 4) return undefined
      // The two upper bits are flags.
      if ((u16(message, at + 2) & 0x3fff) === wanted)
        return message.toString('latin1', at + 4, at + length).split('\0', 1)[0]
      at += (length + 3) & ~3
    }
    return undefined
  }

  const lineOf = (message: Buffer): string | undefined => {
    const type = u16(message, 4)
    if (type >> 8 !== NFNL_SUBSYS_NFTABLES || message.length < HEADER) return undefined
    if ((type & 0xff) === NEWGEN) return '# new generation'
    const object = OBJECTS.get(type & 0xff)
    const family = FAMILIES.get(message[16] ?? 0)
    if (object === undefined || family === undefined) return undefined
    const table = `${family} ${attribute(message, TABLE)}`
    if (!tables.includes(table)) return undefined
    const name = object.name === 0 ? undefined : attribute(message, object.name)
    return `${object.verb} ${object.what} ${table}${name === undefined ? '' : ` ${name}`}`
  }

  return (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const lines: string[] = []
    let at = 0
    while (at + 16 <= bytes.length) {
      const length = u32(bytes, at)
      if (length < 16 || length > MAX_MESSAGE) throw new Error('what the kernel sent is no netlink message')
      if (at + length > bytes.length) break
      const line = lineOf(bytes.subarray(at, at + length))
      if (line !== undefined) lines.push(line)
      at += (length + 3) & ~3
    }
    // A copy: a slice would keep the whole chunk. All attributes are padded, so that a message's length is aligned.
    rest = Buffer.from(bytes.subarray(Math.min(at, bytes.length)))
    return lines
  }
}
