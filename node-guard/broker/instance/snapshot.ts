/** The metadata snapshot that pods see, kept fresh: each part of it is read as often as it may change. */

import { backoff, spread } from '../../../common/backoff.ts'
import { pause } from '../../../common/clock.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import type { MetadataBody } from '../../../common/protocol.ts'
import type { Imds } from './imds.ts'
import { type Part, partsOf, type ReadResult, readPart } from './metadata.ts'

export type MetadataSnapshot = ReturnType<typeof metadataSnapshot>

const RETRY_MS = 500
/** Used if nothing was read. */
const MAX_RETRY_MS = 30_000
/** Paths in one log line. */
const MAX_NAMED = 20
/** A read consists of many requests, each of which may take seconds; sidecars wait ten seconds for their answer. */
const MAX_WAIT_MS = 5000

/** Reads the metadata snapshot periodically. Values that a read fails to get are kept from the previous one, because hardly any of them ever change. */
export function metadataSnapshot(
  imds: Imds,
  settings: { readonly allowed: readonly string[]; readonly region: string | undefined },
  deps: Omit<Deps, 'kube'>,
) {
  const known: MetadataBody = settings.region ? { 'placement/region': settings.region } : {}
  const parts = partsOf(settings.allowed).map((part) => keepReading(imds, part, deps))
  const first = Promise.withResolvers<void>()
  const stopWaiting = deps.clock.after(MAX_WAIT_MS, first.resolve)
  void Promise.all(parts.map(({ tried }) => tried)).then(() => {
    stopWaiting()
    first.resolve()
  })
  return {
    /** The last snapshot; what the settings alone say until there is one. */
    current: () => Object.assign({}, known, ...parts.map(({ values }) => values())),
    /**
     * Resolves when the first reading is over, five seconds after its start at the latest: a sidecar keeps for minutes what it is
     * answered before.
     */
    firstRead: first.promise,
  }
}

function keepReading(imds: Imds, part: Part, deps: Omit<Deps, 'kube'>) {
  const { clock, signal } = deps
  const first = Promise.withResolvers<void>()
  const logReading = readingLog(deps)
  let values: MetadataBody = {}
  let failures = 0
  /** Takes what was read; milliseconds until the next reading. */
  const take = (reading: ReadResult): number => {
    const regular = part.seconds * 1000
    if (reading.failure === undefined) {
      failures = 0
      values = reading.values
      first.resolve()
      return spread(regular)
    }
    failures++
    values = { ...values, ...reading.values }
    // What was read in part is asked for again before it is served.
    const nothing = Object.keys(reading.values).length === 0
    if (nothing) first.resolve()
    return backoff(failures, { base: RETRY_MS, cap: nothing ? MAX_RETRY_MS : regular })
  }
  const run = async () => {
    while (!signal.aborted) {
      const reading = await readPart(imds, part)
      const next = take(reading)
      logReading(reading, failures)
      await pause(clock, next, signal)
    }
  }
  void run()
  return { values: () => values, tried: first.promise }
}

/** What is logged about reads: persistent failures, and once the values that are not served. */
function readingLog({ log }: Pick<Deps, 'log'>) {
  let logged = ''
  return ({ failure, leftOut }: ReadResult, failures: number) => {
    if (failure !== undefined) {
      const error = messageOf(failure)
      log[failures === 3 ? 'warn' : 'debug']('the node’s metadata could not be read', { error })
      return
    }
    const paths = leftOut.slice(0, MAX_NAMED).join(' ')
    if (paths !== logged && paths !== '')
      log.warn('metadata of an unexpected form or beyond the bounds is not served to pods', { paths })
    logged = paths
  }
}
