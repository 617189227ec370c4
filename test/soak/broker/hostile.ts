/** What hostile pods of a node send to its broker: one connection each, as bytes. */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../random.ts'

export type HostilePod = {
  readonly ip: string
  /** Its own token, for which the broker issues nothing: the pod has no sidecar, or no role. */
  readonly token: string
}

export type Tally = {
  connections: number
  readonly statuses: Record<string, number>
  /** Answers that contain credentials: there must be none. */
  leaks: number
}

type Make = (random: Random, pod: HostilePod, stolen: string) => readonly (string | number)[]

const get = (token: string, more = '') =>
  `GET /v1/credentials HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer ${token}\r\n${more}\r\n`
const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const forged = (header: object, claims: object) => `${encoded(header)}.${encoded(claims)}.${'A'.repeat(342)}`

/** Texts are sent, numbers are milliseconds of silence. */
const ATTACKS: Readonly<Record<string, Make>> = {
  'the token of another pod': (_random, _pod, stolen) => [get(stolen)],
  'its own token, again and again': (_random, { token }) =>
    Array.from({ length: 50 }, () => [get(token), 1]).flat(),
  'its own token, pipelined': (_random, { token }) => [get(token).repeat(200)],
  'the token of another pod, pipelined': (_random, _pod, stolen) => [get(stolen).repeat(200)],
  'tokens of unknown keys': (random) =>
    Array.from({ length: 40 }, () =>
      get(forged({ alg: 'RS256', kid: `k${random.next()}` }, { aud: ['pod2iam'], exp: 4e9 })),
    ),
  'a token without algorithm': () => [get(forged({ alg: 'none' }, { aud: ['pod2iam'], exp: 4e9 }))],
  'a token of a public key as secret': () => [get(forged({ alg: 'HS256' }, { aud: ['pod2iam'], exp: 4e9 }))],
  'a long token': (random) => [get('a'.repeat(random.whole(8_000, 60_000)))],
  'a deep token': () => [
    get(`${encoded({ alg: 'RS256' })}.${Buffer.from('['.repeat(5000)).toString('base64url')}.AAAA`),
  ],
  'a good token with its signature changed': (random, { token }) => [
    get(token.slice(0, -random.whole(2, 20)) + 'A'.repeat(10)),
  ],
  noise: (random) => [random.bytes(random.whole(1, 4000))],
  'a request that never ends': () => [
    'GET /v1/credentials HTTP/1.1\r\nHost: broker\r\n',
    ...Array.from({ length: 20 }, (_, index) => [500, `X-${index}: y\r\n`]).flat(),
  ],
  'a connection that says nothing': () => [8000],
  'a large body': (_random, { token }) => [get(token, 'Content-Length: 1000000\r\n'), 'x'.repeat(1_000_000)],
  'many headers': (_random, { token }) => [get(token, 'X-A: b\r\n'.repeat(3000))],
  'a body twice announced': (_random, { token }) => [
    get(token, 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'),
  ],
  'other paths': (random, { token }) => [
    get(token).replace('/v1/credentials', `/${'../'.repeat(random.whole(1, 500))}v1/credentials`),
  ],
}

const HOSTILE_NAMES: readonly string[] = Object.keys(ATTACKS)

const LINGER_MS = 3000

/** Makes one connection from the pod's address, with an attack drawn by chance. Never rejects. */
export async function attackBroker(
  port: number,
  pod: HostilePod,
  stolen: string,
  random: Random,
  tally: Tally,
): Promise<void> {
  const steps = ATTACKS[random.pick(HOSTILE_NAMES)]?.(random, pod, stolen) ?? []
  const socket = connect({ port, host: '127.0.0.1', localAddress: pod.ip })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => undefined)
  tally.connections++
  let received = ''
  const answered = new Promise<void>((resolve) => {
    socket.setEncoding('latin1').on('data', (text: string) => {
      received += text
      resolve()
    })
  })
  for (const step of steps) {
    if (socket.destroyed) break
    if (typeof step === 'number') await Promise.race([closed, sleep(step)])
    else socket.write(step, 'latin1')
  }
  await Promise.race([closed, answered, sleep(LINGER_MS)])
  socket.destroy()
  await closed
  for (const [, status = ''] of received.matchAll(/HTTP\/1\.1 (\d{3}) /g))
    tally.statuses[status] = (tally.statuses[status] ?? 0) + 1
  if (/SecretAccessKey/.test(received)) tally.leaks++
}
