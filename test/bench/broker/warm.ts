/** How fast cached sessions are issued; the broker verifies the token of each request and takes every step of its decision. */
import type { TestPod } from '../../broker/world.ts'
import { type Load, type LoadResult, runLoad } from '../load.ts'
import type { Figure } from '../report.ts'
import { askUntilGiven, type BrokerProcess, spawnBroker, type Workshop } from './process.ts'

/** A connection carries 1000 requests, then the broker closes it. */
const REQUESTS = 900
/** Half of what a peer may have: a connection that ends after a hundred requests still counts while the next one opens. */
const CONNECTIONS = 4

/** Rounds of the long load, until memory no longer grows. */
const ROUNDS = 5

/** @param pod one that connects from 127.0.0.1 */
export async function warmFigures(workshop: Workshop, pod: TestPod): Promise<Figure[]> {
  const broker = await spawnBroker(workshop)
  try {
    await askUntilGiven(broker.port, pod)
    const one = { ...loadOf(broker, pod), requests: REQUESTS, connections: 1 }
    await runLoad(one)
    const alone = await runLoad(one)
    const many = { ...one, requests: REQUESTS * 5, connections: CONNECTIONS }
    return [
      ...figures('1 connection', alone, one),
      ...figures(`${CONNECTIONS} connections`, await runLoad(many), many),
      await grownMemory(broker, pod, 'private memory, peak of a long load'),
    ]
  } finally {
    await broker.end()
  }
}

/** The same load on a broker started as `node broker.cjs`. */
export async function withoutFlags(workshop: Workshop, pod: TestPod): Promise<Figure> {
  const broker = await spawnBroker(workshop, { flags: [] })
  try {
    await askUntilGiven(broker.port, pod)
    return await grownMemory(broker, pod, 'private memory, peak of a long load, without flags')
  } finally {
    await broker.end()
  }
}

async function grownMemory(broker: BrokerProcess, pod: TestPod, name: string): Promise<Figure> {
  const load = { ...loadOf(broker, pod), requests: REQUESTS * 5, connections: CONNECTIONS }
  for (let round = 0; round < ROUNDS; round++) await runLoad(load)
  return { name, value: broker.peak(), unit: 'MiB', target: 64, note: `${load.requests * ROUNDS} requests` }
}

const loadOf = ({ port }: BrokerProcess, { token }: TestPod) => ({
  port,
  bytes: `GET /v1/credentials HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  keepAlive: true,
})

function figures(where: string, { p50, p99, perSecond, failures }: LoadResult, load: Load): Figure[] {
  return [
    {
      name: `warm issuance p50, ${where}`,
      value: p50,
      unit: 'µs',
      note: `${Math.round(perSecond)} a second`,
    },
    { name: `warm issuance p99, ${where}`, value: p99, unit: 'µs' },
    { name: `failures, ${where}`, value: failures, unit: '', target: 0, note: `of ${load.requests}` },
  ]
}
