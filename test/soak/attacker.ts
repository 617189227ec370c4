/** Carries out an attack over TCP and judges the answer. */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Attack } from './attack.ts'
import { HEALTH_WORDS, SECRET_WORDS, wordIn } from './secrets.ts'

export type Target = { readonly port: number; readonly kind: 'metadata' | 'health' }

export type Outcome = {
  /** Status codes of the answers, in order. */
  readonly statuses: readonly number[]
  /** What is wrong with the answer, a sentence; undefined when nothing is. */
  readonly fault: string | undefined
  /** The connection attempt was refused, or nobody answered it. */
  readonly unconnected: boolean
}

/** The number of bytes of an answer that are kept: a flood of documents is a few hundred KiB. */
const MOST_KEPT = 512 * 1024

/**
 * Makes one connection. Resolves within the attack's own time and the linger; never rejects.
 *
 * @param signal ends it early
 */
export async function carryOut(attack: Attack, target: Target, signal: AbortSignal): Promise<Outcome> {
  const socket = connect({ port: target.port, host: '127.0.0.1', allowHalfOpen: true })
  const closed = new Promise<void>((done) => socket.once('close', () => done()))
  const abort = () => socket.destroy()
  signal.addEventListener('abort', abort, { once: true })
  let received = ''
  // A server may end a hostile connection with a reset.
  socket.on('error', () => {})
  socket.setEncoding('latin1').on('data', (text: string) => {
    if (received.length < MOST_KEPT) received += text
  })
  const ended = Promise.race([closed, new Promise<void>((done) => socket.once('end', () => done()))])
  const connected = await Promise.race([
    new Promise<boolean>((done) => socket.once('connect', () => done(true))),
    closed.then(() => false),
    sleep(2000, false, { ref: false }),
  ])
  if (connected) {
    await steps(attack, socket, closed)
    await Promise.race([ended, sleep(attack.linger)])
  }
  socket.destroy()
  signal.removeEventListener('abort', abort)
  return { ...judge(received, attack, target), unconnected: !connected }
}

async function steps(attack: Attack, socket: Socket, closed: Promise<void>): Promise<void> {
  for (const step of attack.steps) {
    if (socket.destroyed) return
    if ('send' in step) socket.write(step.send, 'latin1')
    else if ('wait' in step) await Promise.race([closed, sleep(step.wait)])
    else if ('halfClose' in step) socket.end()
    else if ('reset' in step) {
      // A reset would discard what has not been sent yet.
      await Promise.race([closed, new Promise<void>((done) => socket.write('', () => done()))])
      socket.resetAndDestroy()
    } else socket.pause()
  }
}

/** What is wrong with an answer. */
export function judge(
  received: string,
  { entitled, never2xx }: Pick<Attack, 'entitled' | 'never2xx'>,
  { kind }: Pick<Target, 'kind'>,
): Pick<Outcome, 'statuses' | 'fault'> {
  const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
  const forbidden = kind === 'health' ? HEALTH_WORDS : entitled ? [] : SECRET_WORDS
  const leaked = wordIn(received, forbidden)
  const crashed = statuses.find((status) => status >= 500 && status !== 503)
  const fault =
    leaked !== undefined
      ? `the answer contains ${leaked}`
      : received !== '' && !received.startsWith('HTTP/1.1 ')
        ? `the answer is not HTTP: ${JSON.stringify(received.slice(0, 60))}`
        : crashed !== undefined
          ? `it was answered with ${crashed}`
          : kind === 'metadata' && never2xx && statuses.some((status) => status >= 200 && status < 300)
            ? 'it was answered with a 2xx'
            : undefined
  return { statuses, fault }
}
