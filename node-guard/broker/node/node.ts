/** What the broker must know of its node before it can serve, learned once, for as long as that takes. */

import { backoff } from '../../../common/backoff.ts'
import { type Clock, pause } from '../../../common/clock.ts'
import { messageOf } from '../../../common/errors.ts'
import type { Logger } from '../../../common/log.ts'
import type { MetadataBody } from '../../../common/protocol.ts'
import type { Sts } from '../sts/client.ts'
import { type CallerIdentity, callerIdentity } from './identity.ts'
import type { Imds } from './imds.ts'
import { newsSeconds, readSnapshot } from './metadata.ts'

export type AwsNode = {
  readonly region: string
  readonly sts: Sts
  /** Of the credentials that {@link caller} was learned from. */
  readonly keyId: string
  readonly caller: CallerIdentity
}

type By = { readonly clock: Clock; readonly log: Logger; readonly signal: AbortSignal }

const RETRY = { base: 500, cap: 30_000 }
const REFRESH_MS = 10 * 60_000
/** Tags, for example, are changed by people who then look. */
const REFRESH_ALLOWED_MS = 60_000
/** A reading is many questions, each of which may take seconds; sidecars wait ten for their answer. */
const LONGEST_WAIT_MS = 5000

/**
 * Learns Region, credentials and caller, trying until it has them.
 *
 * @param connect makes the STS client of a Region
 * @returns undefined when `signal` aborted
 */
export async function learnNode(
  region: string | undefined,
  imds: Imds,
  connect: (region: string) => Sts,
  { clock, log, signal }: By,
  onFailure: (detail: string) => void,
): Promise<AwsNode | undefined> {
  let sts: Sts | undefined
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      const known = region ?? (await imds.get('meta-data/placement/region'))?.trim()
      if (!known) throw new Error('the Region is unknown; give --region or AWS_REGION')
      sts ??= connect(known)
      return { region: known, sts, ...(await callerIdentity(sts, imds)) }
    } catch (error) {
      const detail = messageOf(error)
      onFailure(detail)
      log[failures > 2 ? 'warn' : 'debug']('the node’s AWS identity is not known yet', { error: detail })
      await pause(clock, backoff(failures, RETRY), signal)
    }
  }
  return undefined
}

export type Metadata = {
  /** The last snapshot; what the settings alone say until there is one. */
  readonly current: () => MetadataBody
  /**
   * Resolves when the first reading has succeeded or failed, five seconds after its start at the latest: a sidecar keeps for
   * minutes what it is told before.
   */
  readonly tried: Promise<void>
}

/** Reads the metadata snapshot again and again. A failed refresh keeps the last one: what it holds hardly ever changes. */
export function metadata(
  imds: Imds,
  settings: { readonly allowed: readonly string[]; readonly region: string | undefined },
  { clock, log, signal }: By,
): Metadata {
  const known: MetadataBody = settings.region ? { 'placement/region': settings.region } : {}
  const news = newsSeconds(settings.allowed)
  const refresh =
    news !== undefined ? news * 1000 : settings.allowed.length > 0 ? REFRESH_ALLOWED_MS : REFRESH_MS
  let snapshot = known
  const first = Promise.withResolvers<void>()
  const stopWaiting = clock.after(LONGEST_WAIT_MS, first.resolve)
  const run = async () => {
    let failures = 0
    while (!signal.aborted) {
      try {
        snapshot = { ...known, ...(await readSnapshot(imds, settings.allowed)) }
        failures = 0
      } catch (error) {
        failures++
        log[failures === 3 ? 'warn' : 'debug']('the node’s metadata could not be read', {
          error: messageOf(error),
        })
      }
      stopWaiting()
      first.resolve()
      await pause(
        clock,
        failures > 0 ? backoff(failures, RETRY) : refresh * (0.9 + 0.2 * Math.random()),
        signal,
      )
    }
  }
  void run()
  return { current: () => snapshot, tried: first.promise }
}
