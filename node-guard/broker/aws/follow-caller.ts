/** The broker's own identity can change while it runs: another instance profile is attached, or its credentials come from elsewhere. */

import { spread } from '../../../common/backoff.ts'
import { pause } from '../../../common/clock.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import { singleFlight } from '../../../common/single-flight.ts'
import type { Imds } from '../instance/imds.ts'
import { callerIdentity, instanceRoleName } from './caller-identity.ts'
import type { AwsNode } from './discover-node.ts'

const LOOK_MS = 5 * 60_000

/**
 * Keeps the caller's identity up to date.
 *
 * @param discovered as it was discovered at the start
 * @param onChange called with the current state of the node whenever its caller has changed
 * @returns to be called before each call of STS: determines the caller again if the credentials in use have changed; throws if that
 *   fails
 */
export function followCaller(
  discovered: AwsNode,
  imds: Imds,
  { clock, log, signal }: Omit<Deps, 'kube'>,
  onChange: (node: AwsNode) => void,
): () => Promise<void> {
  let node = discovered
  let profile: string | undefined

  const learn = singleFlight(async () => {
    const { caller: before } = node
    node = { ...node, ...(await callerIdentity(node.sts, imds)) }
    if (node.caller.arn !== before.arn) onChange(node)
  })
  const follow = async () => {
    // Without credentials the call of STS itself reports that.
    const keyId = await node.sts.accessKeyId().catch(() => node.keyId)
    if (keyId !== node.keyId) await learn()
  }
  /** A new profile's credentials are used only when the old ones end, hours later, but its role is already the node's own. */
  const look = async () => {
    const name = await instanceRoleName(imds)
    if (name === undefined || name === profile) return
    await node.sts.renewCredentials()
    await follow()
    profile = name
  }
  const run = async () => {
    profile = await instanceRoleName(imds)
    while (!signal.aborted) {
      await pause(clock, spread(LOOK_MS), signal)
      await look().catch((error) =>
        log.warn('the node’s new role could not be learned; trying again', { error: messageOf(error) }),
      )
    }
  }
  void run()
  return follow
}
