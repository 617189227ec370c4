/**
 * Runs in a network namespace and executes requests on sockets, one JSON object a line, because starting a process for
 * every probe would take longer than all the probes.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer as createHttpServer, get } from 'node:http'
import { connect, createServer, Socket } from 'node:net'
import { createInterface } from 'node:readline'

export type TcpResult = { readonly outcome: string; readonly ms: number }

export type Hammered = { readonly tried: number; readonly gaps: readonly number[] }

/** What an agent can do; every function is one request. */
export type AgentRequests = {
  /** Listens; greets with `name` and a newline, and then echoes what it receives. */
  listen: (options: { host: string; port: number; name: string }) => string
  /** How many pieces of data the listeners of this agent have received. */
  heard: (options: Record<string, never>) => number
  /**
   * Connects, says something, and waits for as long as `patience`: what came back without a line break, an error code, or
   * `silence`.
   */
  ask: (options: { host: string; port: number; text: string; patience: number }) => string
  /** Receives datagrams on all addresses. */
  receive: (options: { port: number }) => string
  /** Payloads received so far, each as `local port payload`. */
  received: (options: Record<string, never>) => string[]
  /**
   * Connects, within `timeout`, and waits for the greeting: its text, `connected` without one, an error code, or
   * `timeout`; the last also once `fence` has answered what was sent after it.
   */
  tcp: (options: { host: string; port: number; timeout?: number; fence?: string }) => TcpResult
  /** Connects repeatedly, one connection after the other, until `rest`. */
  hammer: (options: { host: string; port: number }) => string
  /** How many connections `hammer` has tried, and the times, in milliseconds, during which they succeeded. */
  rest: (options: Record<string, never>) => Hammered
  /** An HTTP GET on loopback: status and body, or an error code. */
  get: (options: { port: number; path: string }) => { status: number | string; body: string }
  /** Answers every HTTP request on a loopback port with this; another call changes the answer. */
  serve: (options: { port: number; status: number; body: string }) => string
  /** Opens a connection and keeps it. Gives the greeting, or an error code. */
  open: (options: { host: string; port: number; id: string }) => string
  /** Sends data on a kept connection. Gives the answer, or an error code. */
  say: (options: { id: string; text: string }) => string
  /** Sends a datagram from an address to a closed port. Gives the code of the ICMP error, or `sent` as `udp` does. */
  bounce: (options: { from: string; host: string; port: number; fence: string }) => string
  /**
   * Sends a datagram, also from an address: `sent`, or an error code, or the code of an ICMP error that comes within
   * `wait`, or before `fence` has answered what was sent after it.
   */
  udp: (options: Datagram) => string
}

type Datagram = { host: string; port: number; payload: string; from?: string; wait?: number; fence?: string }

/** How long an expected answer may take. It is waited for in full only if something is wrong. */
export const ANSWER_MS = 30_000

const payloads: string[] = []
let heard = 0
const kept = new Map<string, Socket>()

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error)

function listen({ host, port, name }: { host: string; port: number; name: string }): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.write(`${name}\n`)
      socket.on('data', () => {
        heard++
      })
      socket.pipe(socket)
    })
    server.on('error', (error) => resolve(codeOf(error)))
    server.listen({ host, port, ipv6Only: true }, () => resolve('listening'))
  })
}

/** The greeting may be refused while the answer is not, so everything that comes is waited for, unless it is all there. */
function ask({ host, port, text, patience }: Parameters<AgentRequests['ask']>[0]): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const socket = connect({ host, port }, () => socket.write(text))
    const end = (outcome: string) => {
      callOff()
      socket.destroy()
      resolve(outcome)
    }
    const callOff = afterAll(patience, () => end(received || 'silence'))
    socket.setEncoding('utf8').on('data', (data) => {
      received += String(data).replaceAll('\n', ' ')
      if (received.endsWith(text)) socket.end()
    })
    // Nothing of this connection is on its way any more when its caller looks at counters.
    socket.on('close', () => end(received))
    socket.on('error', (error) => end(codeOf(error)))
  })
}

async function receive({ port }: { port: number }): Promise<string> {
  for (const type of ['udp4', 'udp6'] as const) {
    const socket = createSocket({ type, ipv6Only: type === 'udp6' })
    socket.on('message', (data) => payloads.push(String(data)))
    await new Promise<void>((resolve) => socket.bind(port, resolve))
  }
  return 'receiving'
}

/**
 * Calls `action` after this time and after everything that has arrived by then has been read: a process that had no CPU
 * time handles its timers before its sockets. Returns a function that cancels the call.
 */
function afterAll(milliseconds: number, action: () => void): () => void {
  let last: NodeJS.Immediate | undefined
  const timer = setTimeout(() => {
    last = setImmediate(action)
  }, milliseconds)
  return () => {
    clearTimeout(timer)
    clearImmediate(last)
  }
}

/** After a second the kernel repeats a packet that was lost, for example during a neighbour lookup. */
const SENT_AGAIN_MS = 1200

/**
 * Waits until silence is certain: for `timeout`, or until `fence`, on the same route, has accepted or refused a
 * connection that was started after everything was sent, and again if that was lost. Returns a function that cancels it.
 */
function afterSilence(timeout: number, fence: string | undefined, action: () => void): () => void {
  const cancelLimit = afterAll(timeout, action)
  if (fence === undefined) return cancelLimit
  let cancelLast = () => {}
  const answered = () => {
    cancelLast = afterAll(0, action)
  }
  const other = new Socket().once('connect', answered)
  other.on('error', (error) => codeOf(error) === 'ECONNREFUSED' && answered())
  const cancelFence = afterAll(SENT_AGAIN_MS, () => other.connect({ host: fence, port: 80 }))
  return () => {
    cancelLimit()
    cancelFence()
    cancelLast()
    other.destroy()
  }
}

/** How long the greeting may take after a connection was accepted: it comes from another process, which may wait for CPU time. */
const GREETING_MS = 30_000

/** @param timeout for the connection, which the kernel makes, in milliseconds */
function firstLine(socket: Socket, timeout: number, fence?: string): Promise<string> {
  return new Promise((resolve) => {
    let callOff = afterSilence(timeout, fence, () => end('timeout'))
    const end = (outcome: string) => {
      callOff()
      resolve(outcome)
    }
    socket.once('connect', () => {
      callOff()
      callOff = afterAll(GREETING_MS, () => end('connected'))
    })
    socket.once('data', (data) => end(String(data).trim()))
    socket.once('error', (error) => end(codeOf(error)))
    socket.once('close', () => end('closed'))
  })
}

async function tcp(options: Parameters<AgentRequests['tcp']>[0]): Promise<TcpResult> {
  const started = performance.now()
  const { host, port, timeout = ANSWER_MS, fence } = options
  const socket = connect({ host, port })
  const outcome = await firstLine(socket, timeout, fence)
  socket.on('error', () => {}).destroy()
  return { outcome, ms: performance.now() - started }
}

let hammering: { stop: boolean; done: Promise<Hammered> } | undefined

function hammer({ host, port }: { host: string; port: number }): string {
  const state = { stop: false, done: Promise.resolve<Hammered>({ tried: 0, gaps: [] }) }
  state.done = (async () => {
    const gaps: number[] = []
    let tried = 0
    let opened: number | undefined
    let lostInARow = 0
    // The last probe shows whether it is open at the end, so it must not be a lost one, unless a hundred in a row are lost.
    while (!state.stop || (lostInARow > 0 && lostInARow < 100)) {
      const at = performance.now()
      const outcome = await new Promise<'through' | 'refused' | 'lost'>((resolve) => {
        const socket = connect({ host, port })
        socket.once('connect', () => {
          resolve('through')
          socket.resetAndDestroy()
        })
        socket.on('error', () => resolve('refused'))
        socket.on('close', () => resolve('lost'))
        // A packet that is lost while rules change must not delay the next probe.
        afterAll(20, () => socket.destroy())
      })
      tried++
      lostInARow = outcome === 'lost' ? lostInARow + 1 : 0
      if (outcome === 'through') opened ??= at
      else if (outcome === 'refused' && opened !== undefined) {
        gaps.push(performance.now() - opened)
        opened = undefined
      }
    }
    return { tried, gaps: opened === undefined ? gaps : [...gaps, Number.POSITIVE_INFINITY] }
  })()
  hammering = state
  return 'hammering'
}

async function rest(): Promise<Hammered> {
  if (hammering === undefined) return { tried: 0, gaps: [] }
  hammering.stop = true
  return hammering.done
}

function httpGet({
  port,
  path,
}: {
  port: number
  path: string
}): Promise<{ status: number | string; body: string }> {
  return new Promise((resolve) => {
    get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    }).on('error', (error) => resolve({ status: codeOf(error), body: '' }))
  })
}

const served = new Map<number, { status: number; body: string }>()

function serve({
  port,
  status,
  body,
}: {
  port: number
  status: number
  body: string
}): Promise<string> | string {
  const known = served.has(port)
  served.set(port, { status, body })
  if (known) return 'serving'
  return new Promise((resolve) => {
    createHttpServer((_request, response) => {
      const answer = served.get(port)
      response.writeHead(answer?.status ?? 500).end(answer?.body)
    }).listen(port, '127.0.0.1', () => resolve('serving'))
  })
}

async function open({ host, port, id }: { host: string; port: number; id: string }): Promise<string> {
  const socket = connect({ host, port })
  kept.set(id, socket)
  const greeting = await firstLine(socket, ANSWER_MS)
  socket.on('error', () => {})
  return greeting
}

async function say({ id, text }: { id: string; text: string }): Promise<string> {
  const socket = kept.get(id)
  if (socket === undefined) return 'unknown'
  socket.write(text)
  return firstLine(socket, GREETING_MS)
}

async function udp(options: Datagram): Promise<string> {
  const { host, port, payload, from, fence, wait = fence === undefined ? 0 : ANSWER_MS } = options
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  let callOff = () => {}
  try {
    return await new Promise<string>((resolve) => {
      socket.on('error', (error) => resolve(codeOf(error)))
      // The socket is connected so that it gets ICMP errors.
      socket.on('connect', () =>
        socket.send(payload, (error) => {
          if (error) resolve(codeOf(error))
          else callOff = afterSilence(wait, fence, () => resolve('sent'))
        }),
      )
      if (from === undefined) socket.connect(port, host)
      else socket.bind(0, from, () => socket.connect(port, host))
    })
  } finally {
    callOff()
    closeQuietly(socket)
  }
}

function closeQuietly(socket: UdpSocket): void {
  try {
    socket.close()
  } catch {
    // It was never opened, and its error was reported already.
  }
}

const OPERATIONS: Record<string, (options: never) => unknown> = {
  listen,
  receive,
  received: () => payloads,
  heard: () => heard,
  ask,
  tcp,
  hammer,
  rest,
  get: httpGet,
  serve,
  open,
  say,
  udp,
  bounce: (options: Omit<Datagram, 'payload'>) => udp({ ...options, payload: 'bounce' }),
}

if (process.argv[2] === 'serve') {
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const { id, operation, options } = JSON.parse(line)
    const result = await OPERATIONS[operation]?.(options as never)
    process.stdout.write(`${JSON.stringify({ id, result })}\n`)
  })
  process.stdin.on('end', () => process.exit(0))
  process.stdout.write('{"id":0}\n')
}
