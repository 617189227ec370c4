/**
 * Peers that send the injector what costs it most, from one address or from a hundred. They run in a thread of their own, so that their
 * work does not add to the good tenant's times.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { pod, reviewOf } from '../../injector/fixtures.ts'
import { worstReviews } from '../../injector/worst-reviews.ts'
import { type Random, seededRandom } from '../random.ts'

export type AttackersOptions = {
  readonly port: number
  readonly ca: string
  readonly seed: number
  readonly addresses: number
  /** Connections of all addresses together. */
  readonly connections: number
}

export type Tally = {
  requests: number
  /** Connections that ended, or were ended, before an answer. */
  unanswered: number
  readonly statuses: Record<string, number>
  longestAnswer: number
}

const MOST_WAIT_MS = 15_000

if (!isMainThread) await main(workerData as AttackersOptions)

async function main(options: AttackersOptions): Promise<void> {
  let isOver = false
  parentPort?.once('message', () => {
    isOver = true
  })
  const tally: Tally = { requests: 0, unanswered: 0, statuses: {}, longestAnswer: 0 }
  const attacks = attacksOf()
  parentPort?.postMessage('ready')
  const attackers = Array.from({ length: options.connections }, async (_, index) => {
    const random = seededRandom(options.seed + index)
    const address = `127.0.1.${1 + (index % options.addresses)}`
    while (!isOver) await attack(random.pick(attacks), address, options, random, tally)
  })
  await Promise.all(attackers)
  parentPort?.postMessage(tally)
}

type Attack = (random: Random) => {
  readonly pieces: readonly Buffer[]
  readonly pauseMs: number
  readonly answers: number
}

function attacksOf(): Attack[] {
  const request = (path: string, body: Buffer) =>
    Buffer.concat([
      Buffer.from(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
      ),
      body,
    ])
  const worst = worstReviews().map(({ path, body }): Attack => {
    const bytes = request(path, Buffer.from(body))
    return () => ({ pieces: [bytes], pauseMs: 0, answers: 1 })
  })
  const tiny = request('/mutate', Buffer.from(JSON.stringify(reviewOf(pod()))))
  const large = request('/mutate', Buffer.alloc(8 * 1024 * 1024, 0x5b))
  return [
    ...worst,
    () => ({ pieces: Array.from({ length: 500 }, () => tiny), pauseMs: 0, answers: 500 }),
    // More at once than an answer needs.
    () => ({ pieces: [Buffer.concat(Array.from({ length: 100 }, () => tiny))], pauseMs: 0, answers: 100 }),
    (random) => ({
      pieces: [large.subarray(0, random.whole(1, large.length)), Buffer.from(' ')],
      pauseMs: 2000,
      answers: 0,
    }),
    (random) => ({ pieces: [Buffer.from(random.bytes(2000), 'latin1')], pauseMs: 0, answers: 1 }),
    () => ({
      pieces: [
        Buffer.from('POST /mutate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n'),
        Buffer.from('1\r\n:\r\n'),
      ],
      pauseMs: 1000,
      answers: 0,
    }),
  ]
}

async function attack(
  make: Attack,
  localAddress: string,
  { port, ca }: AttackersOptions,
  random: Random,
  tally: Tally,
) {
  const { pieces, pauseMs, answers } = make(random)
  const options = { port, host: '127.0.0.1', localAddress, ca }
  const socket = connect(options as ConnectionOptions)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => undefined)
  const connected = await Promise.race([
    once(socket, 'secureConnect').then(
      () => true,
      () => false,
    ),
    closed.then(() => false),
  ])
  if (connected) {
    const answered = reader(socket, tally)
    for (const [index, piece] of pieces.entries()) {
      if (socket.destroyed) break
      if (!socket.write(piece)) await Promise.race([once(socket, 'drain').catch(() => undefined), closed])
      tally.requests++
      if (answers > index)
        await Promise.race([answered(index + 1), closed, sleep(MOST_WAIT_MS, undefined, { ref: false })])
      else await Promise.race([closed, sleep(pauseMs)])
    }
    if (answers > 0 && socket.destroyed) tally.unanswered++
  }
  socket.destroy()
  await closed
  // If every connection is refused, this must not become a busy loop.
  if (!connected) await sleep(20)
}

/** Counts answers by status; waits for a number of them. */
function reader(socket: TLSSocket, tally: Tally): (count: number) => Promise<void> {
  let [seen, length] = [0, 0]
  let notify: (() => void) | undefined
  socket.setEncoding('latin1').on('data', (text: string) => {
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status ?? '')
    for (const status of statuses) tally.statuses[status] = (tally.statuses[status] ?? 0) + 1
    length = statuses.length > 0 ? text.length : length + text.length
    tally.longestAnswer = Math.max(tally.longestAnswer, length)
    seen += statuses.length
    notify?.()
  })
  return async (count) => {
    while (seen < count && !socket.destroyed) await new Promise<void>((resolve) => (notify = resolve))
  }
}
