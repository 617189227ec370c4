import { setTimeout as pause } from 'node:timers/promises'
import { whyNotVerified } from '../report/report.ts'
import type { Cause } from './block.ts'
import type { Parts } from './parts.ts'
import { singleFlight } from './single-flight.ts'

/** The rules wait this long for the ways into the node to be read: for most nodes they are right without. */
const WAYS_MS = 3000

/** What a guard does again and again, each one at a time. */
export type Checks = {
  /** Reads the rules back and repairs them. */
  readonly rules: (cause: Cause) => Promise<void>
  /** Makes the broker's link where it is missing. */
  readonly link: () => Promise<void>
  /** Reads the ways into the node, and checks the rules where these changed. */
  readonly ways: () => Promise<void>
  /** All of it, once. Not to be called while it runs. */
  readonly all: (cause: Cause) => Promise<void>
}

export function createChecks(parts: Parts): Checks {
  const { addresses, block, owned, ways, surroundings, link, publisher, report } = parts
  const write = singleFlight(publisher.publish)
  // Nobody waits for it: a stuck disk must not keep a repair waiting.
  const publish = () => void write(report)

  const rules = singleFlight(async (cause: Cause) => {
    await block.check(cause)
    // Not before the plain table, which has to stand when this process ends.
    await owned?.check({ ...addresses, ...ways.known() })
    publish()
  })
  const checkLink = singleFlight(async (_: undefined) => {
    if (await link.check()) publish()
  })
  /** `checkFollows`: whether the caller checks the rules afterwards anyway. */
  const checkWays = singleFlight(async (checkFollows: () => boolean) => {
    const before = ways.detail()
    const changed = await ways.look()
    if (changed && !checkFollows()) void rules('uplinks')
    // The link's report says what is wrong with the ways to it.
    if (ways.detail() !== before && link.state() !== undefined) void checkLink(undefined)
  })
  const search = singleFlight(async (_: undefined) => {
    if (await surroundings?.search()) publish()
  })
  const ask = singleFlight(async (_: undefined) => surroundings?.ask())

  const lookAtDataplane = async () => {
    const before = whyNotVerified(report())?.code
    await surroundings?.look()
    if (whyNotVerified(report())?.code !== before) publish()
  }

  const all = async (cause: Cause) => {
    const removing = report().mode === 'remove'
    if (!removing) {
      let waiting = true
      await Promise.race([checkWays(() => waiting), pause(WAYS_MS, undefined, { ref: false })])
      waiting = false
    }
    // Rules first: without them a pod could send its token to the broker's address beyond this node.
    await rules(cause)
    if (!removing) await checkLink(undefined)
    await lookAtDataplane()
    // Nobody waits for these: what others made may be big, and the metadata service silent.
    void search(undefined)
    void ask(undefined)
  }

  return { rules, link: () => checkLink(undefined), ways: () => checkWays(() => false), all }
}
