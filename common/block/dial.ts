import { createSocket } from 'node:dgram'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { timedPromise } from '../timed-promise.ts'

/** The result of a TCP connection to an address and port. */
export type DialResult =
  /** It was reset at once. */
  | 'refused'
  /** It was accepted. */
  | 'answered'
  /** There was no answer in time, or only an ICMP error. */
  | 'no-answer'

/**
 * Opens a TCP connection and closes it again.
 *
 * @param timeoutMs how long to wait for an answer; one that has arrived while this process got no CPU time, as in a
 * throttled container, still counts
 */
export function dial(address: string, port: number, timeoutMs: number): Promise<DialResult> {
  const socket = connect({ host: address, port })
  const { promise, resolve } = timedPromise<DialResult>(timeoutMs, ({ resolve }) => {
    // Timers that are due come before sockets: only after these was there silence.
    setImmediate(resolve, 'no-answer')
  })
  socket.on('connect', () => resolve('answered'))
  socket.on('error', (error: NodeJS.ErrnoException) =>
    resolve(error.code === 'ECONNREFUSED' ? 'refused' : 'no-answer'),
  )
  return promise.finally(() => socket.destroy())
}

/** Where this network namespace sends packets for an address. */
export type Route =
  | 'none'
  /** To itself: its own refusal would prove nothing. */
  | 'local'
  | 'out'

/** Errors by which the kernel says that nothing would leave this network namespace. */
const NO_ROUTE = ['ENETUNREACH', 'EHOSTUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT']

/**
 * Asks the kernel by connecting a UDP socket, which sends nothing and needs no capability. An error of another kind
 * than {@link NO_ROUTE} (a BPF program's EPERM, no more descriptors) says nothing about routes: such an address
 * counts as reachable and has to be proven.
 */
export async function routeTo(address: string): Promise<Route> {
  const source = await sourceFor(address)
  if (source === undefined) return 'none'
  // A local address is its own source address; only behind a local IPv6 route without an address it is not.
  if (source === address) return 'local'
  return address.includes(':') && hasLocalRoute(await readIpv6Routes(), address) ? 'local' : 'out'
}

/** The source address for an address, empty if the kernel would not say, undefined if there is no route. */
function sourceFor(address: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const family = address.includes(':') ? 6 : 4
    // An address needs no lookup; without one of ours, dgram loads node:dns for it.
    const socket = createSocket({
      type: `udp${family}`,
      lookup: (host, _options, found) => found(null, host, family),
    })
    const end = (source: string | undefined) => {
      socket.close()
      resolve(source)
    }
    socket.on('error', ({ code }: NodeJS.ErrnoException) =>
      end(NO_ROUTE.includes(code ?? '') ? undefined : ''),
    )
    // With a callback, connect() would hand errors to it and not to the event.
    socket.on('connect', () => end(socket.address().address))
    socket.connect(80, address)
  })
}

const readIpv6Routes = () => readFile('/proc/net/ipv6_route', 'utf8').catch(() => '')

/** `RTF_LOCAL` of linux/ipv6_route.h. */
const LOCAL = 0x80000000

/** Whether an IPv6 address is local by /proc/net/ipv6_route: destination, prefix length, …, flags, interface. */
export function hasLocalRoute(routes: string, address: string): boolean {
  const destination = hexadecimal(address)
  return routes.split('\n').some((line) => {
    const fields = line.trim().split(/\s+/)
    const flags = Number.parseInt(fields[8] ?? '', 16)
    return fields[0] === destination && fields[1] === '80' && (flags & LOCAL) !== 0
  })
}

/** An IPv6 address as 32 hexadecimal digits. */
function hexadecimal(address: string): string {
  const [head = '', tail] = address.split('::')
  const groups = (text: string | undefined) =>
    text ? text.split(':').map((group) => group.padStart(4, '0')) : []
  const [before, after] = [groups(head), groups(tail)]
  return [...before, ...Array<string>(8 - before.length - after.length).fill('0000'), ...after].join('')
}
