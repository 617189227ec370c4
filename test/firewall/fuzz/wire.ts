/** Sends packets from a pod and captures them at AWS by AF_PACKET sockets, which Node.js lacks and Python has. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { METADATA_ADDRESSES } from '../../../common/addresses.ts'
import { findTool } from '../../sandbox/node/tools.ts'
import { until } from '../../support/until.ts'
import { POD1, type TestNode } from '../node.ts'
import { ipv4, ipv6, PROTOCOL, transport } from './bytes.ts'
import { packetsOf, type Shape } from './shapes.ts'

/** The reason why the fuzz test cannot run here, or undefined. */
export function whyNoWire(): string | undefined {
  return findTool('python3') === undefined ? 'python3 not found; install python3' : undefined
}

/** A packet at AWS whose destination is the metadata service. */
export type Arrival = { readonly id: number; readonly source: string; readonly protocol: number }

export type Wire = {
  /** Sends shapes from pod1. Gives all packets that reached the metadata service meanwhile. */
  readonly send: (shapes: readonly Shape[]) => Promise<Arrival[]>
  /** Gives all packets that reached the metadata service during `work`. */
  readonly during: (work: () => Promise<void>) => Promise<Arrival[]>
  readonly close: () => Promise<void>
}

/** The number of shapes at a time, small enough for every queue on the way. */
const BATCH = 50
const EVERYBODY = 'ff:ff:ff:ff:ff:ff'
/** The source of all frames, which is not checked. */
const POD_MAC = '020000000011'
/** Ids of fences; shapes have lower ones. */
const FIRST_FENCE = 60_000
/** Neighbours of the metadata addresses that no rule of ours touches. */
const FENCES = ['169.254.169.253', 'fd00:ec2::253']
const FENCE_PORT = 9

/** Opens both ends. */
export async function openWire(node: TestNode, topology: 'routed' | 'bridge'): Promise<Wire> {
  const capture = await startPython(node, 'aws', 'capture.py')
  const sender = await startPython(node, 'pod1', 'send.py')
  const arrivals: Arrival[] = []
  const fences = new Set<number>()
  let dropped: number | undefined
  capture.lines((line) => {
    const [first = '', source = '', destination = '', protocol] = line.split(' ')
    if (first === 'dropped') dropped = Number(source)
    else if (METADATA_ADDRESSES.some((address) => address === destination))
      arrivals.push({ id: Number(first), source, protocol: Number(protocol) })
    else if (FENCES.includes(destination)) fences.add(Number(first))
  })
  const frames = {
    gateway: await macOf(node, 'node', topology === 'routed' ? 'veth11' : 'cni0'),
    broadcast: EVERYBODY,
    neighbour: await macOf(node, 'pod2', 'eth0'),
  }
  let lastFence = FIRST_FENCE
  const put = (packet: Buffer, to: string) => {
    const ethertype = (packet[0] ?? 0) >> 4 === 6 ? '86dd' : '0800'
    sender.write(`${to.replaceAll(':', '')}${POD_MAC}${ethertype}${packet.toString('hex')}`)
  }

  /** Sends packets that must arrive after the rest, repeatedly: then the rest has arrived, too, or never will. */
  const fence = async () => {
    const ids = [++lastFence, ++lastFence]
    await until('the fence packets arrive at AWS', async () => {
      for (const [index, id] of ids.entries())
        put(fencePacket(POD1[index], FENCES[index], id), frames.gateway)
      await sender.flush()
      return ids.every((id) => fences.has(id))
    })
  }

  const during = async (work: () => Promise<void>) => {
    await fence()
    arrivals.length = 0
    await work()
    await fence()
    return [...arrivals]
  }
  return {
    during,
    send: (shapes) =>
      during(async () => {
        for (let at = 0; at < shapes.length; at += BATCH) {
          for (const shape of shapes.slice(at, at + BATCH))
            for (const packet of packetsOf(shape)) put(packet, frames[shape.frame])
          await fence()
        }
      }),
    close: async () => {
      await sender.end()
      await capture.end()
      if (dropped !== 0) throw new Error(`the capture missed ${dropped} packets: what it saw proves nothing`)
    },
  }
}

function fencePacket(source = '', destination = '', id: number): Buffer {
  const protocol = PROTOCOL.udp
  const content = { protocol, port: FENCE_PORT, flags: 0, data: Buffer.alloc(0), rightChecksum: true }
  const common = {
    source,
    destination,
    protocol,
    id,
    ttl: 64,
    payload: transport(source, destination, content),
  }
  return source.includes(':')
    ? ipv6({ ...common, extensions: [] })
    : ipv4({ ...common, options: Buffer.alloc(0) })
}

async function macOf(node: TestNode, network: 'node' | 'pod2', device: string): Promise<string> {
  const links = JSON.parse(await node.must(network, ['ip', '-json', 'link', 'show', 'dev', device]))
  return String(links[0]?.address)
}

type Python = {
  readonly lines: (hear: (line: string) => void) => void
  readonly write: (line: string) => void
  readonly flush: () => Promise<void>
  readonly end: () => Promise<void>
}

async function startPython(node: TestNode, network: 'aws' | 'pod1', script: string): Promise<Python> {
  const child: ChildProcess = node.spawn(network, [
    findTool('python3') ?? 'python3',
    join(import.meta.dirname, script),
  ])
  child.stderr?.pipe(process.stderr)
  const closed = once(child, 'close')
  const heard: ((line: string) => void)[] = []
  if (child.stdout)
    createInterface({ input: child.stdout }).on('line', (line) => {
      for (const hear of heard) hear(line)
    })
  const next = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const hear = (line: string) => {
        if (line !== text) return
        heard.splice(heard.indexOf(hear), 1)
        resolve()
      }
      heard.push(hear)
      closed.then(() => reject(new Error(`${script} ended`)))
    })
  const python: Python = {
    lines: (hear) => heard.push(hear),
    write: (line) => child.stdin?.write(`${line}\n`),
    flush: async () => {
      const flushed = next('flushed')
      child.stdin?.write('flush\n')
      await flushed
    },
    end: async () => {
      child.stdin?.end()
      await closed
    },
  }
  if (script === 'capture.py') await next('ready')
  else await python.flush()
  return python
}
