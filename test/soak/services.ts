/** The soaks of injector and broker by name, with the requirements for each. */
import { BROKER_LIMIT, soakBroker } from './broker/soak.ts'
import { INJECTOR_LIMIT, soakInjector } from './injector/soak.ts'
import { type ServiceObservations, serviceFaults, serviceReport } from './service-verdict.ts'

type Options = {
  readonly seed: number
  readonly durationMs: number
  readonly onProgress: (line: string) => void
}
type Outcome = { readonly report: string; readonly faults: readonly string[] }

/** The API server waits five seconds for a webhook, and a sidecar's start waits for credentials; nobody should notice an attack. */
const P99_MS = 1000
/** 500 operations, in base64, and the rest of the body. */
const MOST_ANSWER = 256 * 1024
/** One pod with several connections, and many pods with one each. */
const CROWDS = [
  { addresses: 1, connections: 8 },
  { addresses: 100, connections: 100 },
]

export const SERVICES: Readonly<Record<string, (options: Options) => Promise<Outcome>>> = {
  /** Half of the time from one address, half from a hundred. */
  async injector({ seed, durationMs, onProgress }) {
    const outcomes: Outcome[] = []
    for (const crowd of CROWDS) {
      onProgress(`from ${crowd.addresses} address${crowd.addresses === 1 ? '' : 'es'}`)
      const seen = await soakInjector({ ...crowd, seed, durationMs: durationMs / CROWDS.length, onProgress })
      const { longestAnswer, statuses } = seen.tally
      const faults = longestAnswer > MOST_ANSWER ? [`An answer had ${longestAnswer} bytes.`] : []
      outcomes.push(outcomeOf({ ...seen, statuses, faults }, INJECTOR_LIMIT))
    }
    return {
      report: outcomes.map(({ report }) => report).join('\n\n'),
      faults: outcomes.flatMap(({ faults }) => faults),
    }
  },
  async broker({ seed, durationMs, onProgress }) {
    const seen = await soakBroker({ seed, durationMs, connections: 200, onProgress })
    const { leaks, statuses } = seen.tally
    const faults = leaks > 0 ? [`${leaks} hostile pods got credentials.`] : []
    return outcomeOf({ ...seen, failures: seen.failures.length, statuses, faults }, BROKER_LIMIT)
  },
}

function outcomeOf(seen: ServiceObservations, limit: number): Outcome {
  return { report: serviceReport(seen), faults: serviceFaults(seen, { p99: P99_MS, limit }) }
}
