/** A broker on loopback that issues short-lived credentials and misbehaves now and then, as the seed determines. */
import { createServer, type ServerResponse } from 'node:http'
import { CREDENTIALS_PATH, imdsTime, METADATA_PATH } from '../../common/protocol.ts'
import { listening } from '../support/listening.ts'
import { type Random, seededRandom } from './random.ts'
import { ACCOUNT, ROLE } from './secrets.ts'

/** One issue of credentials, with the field names of the broker's body. */
export type Generation = ReturnType<typeof credentialsOf>

export type SoakBroker = {
  readonly url: string
  /** Everything that was issued, oldest first. */
  readonly generations: readonly Generation[]
  /** How often it answered in each way; `good` is one of them. */
  readonly answers: Readonly<Record<string, number>>
  readonly close: () => Promise<void>
}

export const REGION = 'eu-west-1'
const METADATA = { 'placement/region': REGION, 'placement/availability-zone': 'eu-west-1b' }

/**
 * The sidecar refreshes credentials at half of this time and serves them until a minute before their end. That leaves a minute for three bad
 * answers in a row, the longest of which is one that never comes (10 s and a back-off of 4 s).
 */
const LIFE_MS = 240_000
const MOST_BAD_IN_A_ROW = 3

type Misbehaviour = (response: ServerResponse, good: string, random: Random) => void

const MISBEHAVIOURS: Readonly<Record<string, Misbehaviour>> = {
  garbage: (response, _good, random) => response.end(random.bytes(random.whole(1, 2000)), 'latin1'),
  'cut short': (response, good) => {
    response.writeHead(200, { 'Content-Length': good.length }).write(good.slice(0, good.length / 2))
    setTimeout(() => response.destroy(), 20)
  },
  'half a body': (response, good) => response.end(good.slice(0, good.length / 2)),
  'status 500': (response, good) => response.writeHead(500).end(good),
  'busy, retry later': (response) =>
    response
      .writeHead(503, { 'Content-Type': 'application/problem+json', 'Retry-After': '1' })
      .end('{"code":"busy","detail":"Too many pods ask at once."}'),
  'an unknown code': (response) => response.writeHead(418).end('{"code":"from-the-future","detail":"?"}'),
  redirect: (response) => response.writeHead(302, { Location: 'http://evil.example/' }).end(),
  'hang-up': (response) => response.socket?.destroy(),
  'not HTTP': (response, good) => response.socket?.end(`* OK ${good}\r\n`),
  'too long': (response) => response.end('x'.repeat(300_000)),
  'never an answer': () => {},
  expired: (response, good) =>
    response.end(JSON.stringify({ ...JSON.parse(good), Expiration: imdsTime(Date.now() - 1000) })),
  'another shape': (response, good) => response.end(`[${good}]`),
}

/** Starts a broker. The first answer of a run is always a bad one, then about every second. */
export async function startSoakBroker(seed: number): Promise<SoakBroker> {
  const random = seededRandom(seed ^ 0xb0c4e)
  const generations: Generation[] = []
  const answers: Record<string, number> = {}
  const badInARow = new Map<string, number>()
  // In a run of five seconds, a starting sidecar must not wait ten seconds for its first credentials.
  const kinds = (first: boolean) =>
    Object.keys(MISBEHAVIOURS).filter((kind) => !(first && kind === 'never an answer'))

  const server = createServer((request, response) => {
    const path = request.url ?? ''
    const bad = badInARow.get(path) ?? 0
    const first = generations.length === 0
    const good = bodyOf(path, generations.length)
    if (good === undefined) return response.writeHead(404).end()
    if (bad < MOST_BAD_IN_A_ROW && ((first && bad === 0) || random.chance(0.5))) {
      const kind = random.pick(kinds(first))
      badInARow.set(path, bad + 1)
      answers[kind] = (answers[kind] ?? 0) + 1
      return MISBEHAVIOURS[kind]?.(response, good, random)
    }
    badInARow.set(path, 0)
    answers.good = (answers.good ?? 0) + 1
    if (path === CREDENTIALS_PATH) generations.push(JSON.parse(good) as Generation)
    return response
      .writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'max-age=5' })
      .end(good)
  })
  const port = await listening(server)
  return {
    url: `http://127.0.0.1:${port}`,
    generations,
    answers,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

function bodyOf(path: string, number: number): string | undefined {
  if (path === CREDENTIALS_PATH) return JSON.stringify(credentialsOf(number, Date.now()))
  return path === METADATA_PATH ? JSON.stringify(METADATA) : undefined
}

function credentialsOf(number: number, now: number) {
  return {
    Code: 'Success',
    AccessKeyId: `ASIASOAK${String(number).padStart(12, '0')}`,
    SecretAccessKey: `soakSecretKey/${number}`,
    Token: `soakSessionToken${'t'.repeat(900)}${number}==`,
    Expiration: imdsTime(now + LIFE_MS),
    LastUpdated: imdsTime(now),
    AccountId: ACCOUNT,
    Role: ROLE,
    RoleArn: `arn:aws:iam::${ACCOUNT}:role/${ROLE}`,
  }
}
