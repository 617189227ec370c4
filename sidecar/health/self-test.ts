/**
 * The proof that the application's requests reach this process: it asks `http://169.254.169.254/` for a path that
 * only it knows and must get back a nonce that only it would answer.
 */
import { METADATA_ADDRESSES } from '../../common/addresses.ts'
import type { SteadyClock } from '../../common/clock.ts'
import { get } from '../http/get.ts'
import { hex, randomBytes } from '../imds/random.ts'
import { type Loop, repeat } from '../repeat.ts'
import type { Endpoint } from '../warm-up.ts'

/** Asks one address; resolves with the body, rejects with an error that may have a `code`. */
export type Probe = (address: string, path: string) => Promise<string>

export type SelfTest = {
  /** The answer to a self-test path, or undefined for every other path. */
  readonly answer: (path: string) => string | undefined
  readonly passed: () => boolean
  /** Resolves, when it passes, with the metadata address that leads to this process; undefined with mode `off`. */
  readonly endpoint: Promise<Endpoint> | undefined
  /** Repeats the test until it passes; `onPassed` is called once then. */
  readonly start: (onPassed: () => void) => Loop
}

const METADATA_PORT = 80
const NO_ROUTE = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT'])

/**
 * A self-test, to be started. It asks every 10 ms while a pod normally starts, slower when something is wrong.
 *
 * @param mode `off`: without a redirect there is nothing to prove, and it has passed
 */
export function selfTestOf(
  mode: 'redirect' | 'off',
  clock: SteadyClock,
  probe: Probe = probeOverHttp,
): SelfTest {
  if (mode === 'off')
    return {
      answer: () => undefined,
      passed: () => true,
      endpoint: undefined,
      start: () => ({ stop: () => {} }),
    }
  const path = `/latest/meta-data/${hex(randomBytes(16))}`
  const nonce = hex(randomBytes(16))
  const way = Promise.withResolvers<Endpoint>()
  let passed = false
  return {
    passed: () => passed,
    endpoint: way.promise,
    answer: (asked) => (asked === path && !passed ? nonce : undefined),
    start: (onPassed) => {
      const started = clock.monotonic()
      return repeat(clock, async () => {
        const host = await addressThatLeadsHere(probe, path, nonce)
        if (host !== undefined) {
          passed = true
          way.resolve({ host, port: METADATA_PORT })
          onPassed()
          return undefined
        }
        const waited = clock.monotonic() - started
        return waited < 60_000 ? 10 : waited < 600_000 ? 100 : 1000
      })
    },
  }
}

/** The metadata address that leads to this process, if one does: IPv4 first, and IPv6 only in a pod without a route to the IPv4 address. */
async function addressThatLeadsHere(probe: Probe, path: string, nonce: string): Promise<string | undefined> {
  for (const address of METADATA_ADDRESSES) {
    try {
      return (await probe(address, path)) === nonce ? address : undefined
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : ''
      if (!NO_ROUTE.has(code)) return undefined
    }
  }
  return undefined
}

const PROBE_TIMEOUT_MS = 250
const MAX_BODY = 4096

async function probeOverHttp(host: string, path: string): Promise<string> {
  const times = { connectTimeout: PROBE_TIMEOUT_MS, answerTimeout: PROBE_TIMEOUT_MS }
  return (await get({ host, port: METADATA_PORT, path, ...times, maxBody: MAX_BODY })).body
}
