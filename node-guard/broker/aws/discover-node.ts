/** Discovers what the broker must know about its node before it can issue credentials with the node's role. */

import { backoff } from '../../../common/backoff.ts'
import { pause } from '../../../common/clock.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import type { Imds } from '../instance/imds.ts'
import { type CallerIdentity, callerIdentity } from './caller-identity.ts'
import type { Sts } from './sts-client.ts'

export type AwsNode = {
  readonly region: string
  readonly sts: Sts
  /** Access key id of the credentials with which {@link caller} was determined. */
  readonly keyId: string
  readonly caller: CallerIdentity
}

const RETRY = { base: 500, cap: 30_000 }

/**
 * Discovers Region, credentials and caller; tries until it has them.
 *
 * @param connect creates the STS client for a Region
 * @param onFailure called with the reason after each try that failed
 * @returns undefined when `signal` aborted
 */
export async function discoverNode(
  region: string | undefined,
  imds: Imds,
  connect: (region: string) => Sts,
  { clock, log, signal }: Omit<Deps, 'kube'>,
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
