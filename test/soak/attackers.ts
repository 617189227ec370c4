/**
 * The attackers run in a thread of their own, so that their work does not add to the good client's times. They draw attacks from the
 * seed and carry them out at a limited rate with a limited number of open connections, until they are told to stop.
 */
import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import type { Attack } from './attack.ts'
import { carryOut, type Outcome, type Target } from './attacker.ts'
import { drawAttack } from './attacks.ts'

export type AttackersOptions = {
  readonly seed: number
  readonly metadataPort: number
  readonly healthPort: number
  /** A valid session token. */
  readonly token: string
  /** Attacks begun per second. */
  readonly rate: number
  /**
   * Requests sent per second, pipelined ones included: one process can answer a limited number, and that a pod can
   * keep its own sidecar busy is no finding.
   */
  readonly requestRate: number
  /** Words in the names of the attacks to use; empty: all attacks. */
  readonly only: readonly string[]
  /** The maximum number of open connections. */
  readonly connections: number
}

export type Tally = {
  attacks: number
  connections: number
  requests: number
  unconnected: number
  /** Answers by status. */
  readonly statuses: Record<string, number>
  readonly byName: Record<string, number>
  /** The first few faults, as sentences that say how to repeat them. */
  readonly faults: string[]
  faultCount: number
}

/** This many faults are described; the rest are only counted. */
const MOST_FAULTS = 20
/** Three times the connections that the health server keeps open (common/health.ts): a probe must be answered all the same. */
const HEALTH_CONNECTIONS = 200

if (!isMainThread) await main(workerData as AttackersOptions)

async function main(options: AttackersOptions): Promise<void> {
  const stop = new AbortController()
  // Each connection adds a listener.
  setMaxListeners(0, stop.signal)
  parentPort?.once('message', () => stop.abort())
  const tally: Tally = {
    attacks: 0,
    connections: 0,
    requests: 0,
    unconnected: 0,
    statuses: {},
    byName: {},
    faults: [],
    faultCount: 0,
  }
  await attackUntil(stop.signal, options, tally)
  parentPort?.postMessage(tally)
}

async function attackUntil(signal: AbortSignal, options: AttackersOptions, tally: Tally): Promise<void> {
  const under = { metadata: new Set<Promise<void>>(), health: new Set<Promise<void>>() }
  const most = { metadata: options.connections, health: HEALTH_CONNECTIONS }
  const attacks = allowance(options.rate)
  const requests = allowance(options.requestRate)
  for (let number = 0; !signal.aborted; number++) {
    while (!attacks.take(1) && !signal.aborted) await sleep(5)
    const { name, kind, attack } = drawAttack(number, options)
    if (under[kind].size + attack.connections > most[kind]) continue
    if (!requests.take(attack.requests * attack.connections)) continue
    tally.attacks++
    tally.requests += attack.requests * attack.connections
    tally.byName[name] = (tally.byName[name] ?? 0) + 1
    const target: Target = { kind, port: kind === 'health' ? options.healthPort : options.metadataPort }
    for (let count = 0; count < attack.connections; count++) {
      const run = carryOut(attack, target, signal).then((outcome) => {
        under[kind].delete(run)
        record(tally, outcome, attack, `attack ${number} (${name}, ${kind} port, seed ${options.seed})`)
      })
      under[kind].add(run)
    }
  }
  await Promise.all([...under.metadata, ...under.health])
}

/** A token bucket: a number per second, and after a pause at most the number of two seconds. */
function allowance(rate: number): { readonly take: (count: number) => boolean } {
  let [left, last] = [rate, performance.now()]
  return {
    take: (count) => {
      const now = performance.now()
      left = Math.min(left + ((now - last) / 1000) * rate, 2 * rate)
      last = now
      if (left < count) return false
      left -= count
      return true
    },
  }
}

function record(tally: Tally, { statuses, fault, unconnected }: Outcome, attack: Attack, who: string): void {
  tally.connections++
  if (unconnected) tally.unconnected++
  for (const status of statuses) tally.statuses[status] = (tally.statuses[status] ?? 0) + 1
  if (fault === undefined) return
  tally.faultCount++
  const sent = attack.steps.map((step) => ('send' in step ? step.send : '')).join('')
  if (tally.faults.length < MOST_FAULTS)
    tally.faults.push(`${who}: ${fault}; sent: ${JSON.stringify(sent.slice(0, 300))}`)
}
