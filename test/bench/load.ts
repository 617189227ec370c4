/** A load generator over raw TCP or TLS, which adds no more to a request than a write and a read. */
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { quantile } from './report.ts'

export type Load = {
  readonly port: number
  /** The request's bytes. */
  readonly bytes: string
  readonly requests: number
  readonly connections: number
  /** Whether one connection carries all requests of a client, or each has one of its own. */
  readonly keepAlive: boolean
  /** Opens a connection; by default plain TCP to `port` of 127.0.0.1. */
  readonly dial?: (port: number) => Promise<Socket>
}

export type LoadResult = {
  /** Microseconds. */
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
  /** Requests that got anything but a complete answer of 200. */
  readonly failures: number
}

/** Runs a load to its end. */
export async function runLoad(load: Load): Promise<LoadResult> {
  const { port, bytes, requests, connections, keepAlive, dial = opened } = load
  const durations: number[] = []
  let [started, failures] = [0, 0]
  const client = async () => {
    let socket: Socket | undefined
    while (started < requests) {
      started++
      const start = performance.now()
      try {
        socket = keepAlive && socket?.destroyed === false ? socket : await dial(port)
        if ((await exchange(socket, bytes)) === 200) durations.push((performance.now() - start) * 1000)
        else failures++
        if (!keepAlive) socket.destroy()
      } catch {
        failures++
        socket?.destroy()
        socket = undefined
      }
    }
    socket?.destroy()
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: connections }, client))
  const seconds = (performance.now() - start) / 1000
  const [p50, p99] = [quantile(durations, 0.5), quantile(durations, 0.99)]
  return { p50, p99, perSecond: durations.length / seconds, failures }
}

/** Resolves with a connection once it is open; rejects when it is refused. */
export function opened(port: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.setEncoding('latin1')
  socket.once('error', reject).once('connect', () => resolve(socket))
  return promise
}

/** Sends a request and waits for the whole answer; resolves with its status. Closes the connection if the answer says so. */
export async function exchange(socket: Socket, bytes: string): Promise<number> {
  return (await exchanged(socket, bytes)).status
}

export type Exchanged = { readonly status: number; readonly body: string }

/** Like {@link exchange}, with the body. */
export function exchanged(socket: Socket, bytes: string): Promise<Exchanged> {
  const { promise, resolve, reject } = Promise.withResolvers<Exchanged>()
  let received = ''
  const onData = (text: string) => {
    received += text
    const answer = wholeAnswer(received)
    if (answer === undefined) return
    // A server that closes the connection after a number of requests says so in the last answer.
    if (/^connection: close\r$/im.test(received)) socket.destroy()
    settle(() => resolve(answer))
  }
  const onEnd = () => settle(() => reject(new Error('the connection ended before the answer')))
  const settle = (done: () => void) => {
    clearTimeout(timeout)
    socket.off('data', onData).off('error', onEnd).off('close', onEnd)
    done()
  }
  const timeout = setTimeout(onEnd, 10_000)
  socket.on('data', onData).on('error', onEnd).on('close', onEnd)
  socket.write(bytes, 'latin1')
  return promise
}

function wholeAnswer(text: string): Exchanged | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? Number.NaN)
  if (!(text.length >= end + 4 + length)) return undefined
  return { status: Number(text.slice(9, 12)), body: text.slice(end + 4, end + 4 + length) }
}
