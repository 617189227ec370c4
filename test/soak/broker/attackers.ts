/** The hostile pods run in a thread of their own, so that their work does not add to the good pod's times. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { seededRandom } from '../random.ts'
import { attackBroker, type HostilePod, type Tally } from './hostile.ts'

export type AttackersOptions = {
  readonly port: number
  readonly seed: number
  readonly pods: readonly HostilePod[]
  /** The good pod's token, as if it had been stolen. */
  readonly stolen: string
  readonly connections: number
}

if (!isMainThread) await main(workerData as AttackersOptions)

async function main({ port, seed, pods, stolen, connections }: AttackersOptions): Promise<void> {
  let isOver = false
  parentPort?.once('message', () => {
    isOver = true
  })
  const tally: Tally = { connections: 0, statuses: {}, leaks: 0 }
  const attackers = Array.from({ length: connections }, async (_, index) => {
    const random = seededRandom(seed + index)
    while (!isOver) await attackBroker(port, random.pick(pods), stolen, random, tally)
  })
  await Promise.all(attackers)
  parentPort?.postMessage(tally)
}
