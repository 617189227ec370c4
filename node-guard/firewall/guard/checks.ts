import { setTimeout as pause } from 'node:timers/promises'
import { coalesce } from '../../../common/coalesce.ts'
import type { Cause } from '../block/block.ts'
import { whyNotVerified } from '../report/report.ts'
import type { Parts } from './parts.ts'

/** The rules wait this long until the interfaces and routes into the node are read; on most nodes they are correct without them. */
const TOPOLOGY_MS = 3000

export type Checks = ReturnType<typeof createChecks>

/** The checks that a guard repeats; each of them runs one at a time. */
export function createChecks(parts: Parts) {
  const { addresses, block, owned, topology, surroundings, link, hostNetwork, publisher, report } = parts
  const write = coalesce(publisher.publish)
  // Nobody waits for it: a stuck disk must not keep a repair waiting.
  const publish = () => void write(report)

  /** Reads the rules back and repairs them. */
  const rules = coalesce(async (cause: Cause) => {
    await block.check(cause)
    // After the plain table, which has to be there when this process ends.
    await owned?.check({ ...addresses, ...topology.known() })
    if (report().mode !== 'remove') await hostNetwork.look()
    publish()
  })
  const checkLink = coalesce<void>(async () => {
    if (await link.check()) publish()
  })
  /** `checkFollows`: whether the caller checks the rules afterwards anyway. */
  const checkTopology = coalesce(async (checkFollows: () => boolean) => {
    const before = topology.problem()
    const changed = await topology.look()
    if (changed && !checkFollows()) void rules('uplinks')
    // The state of the link includes problems with the routes to it.
    if (topology.problem() !== before && link.state() !== undefined) void checkLink()
  })
  const search = coalesce<void>(async () => {
    if (await surroundings?.searchLeftovers()) publish()
  })
  const ask = coalesce<void>(async () => surroundings?.askImds())

  const lookAtDataplane = async () => {
    const before = whyNotVerified(report())?.code
    await surroundings?.lookAtDataplane()
    if (whyNotVerified(report())?.code !== before) publish()
  }

  /** Not to be called while it runs. */
  const all = async (cause: Cause) => {
    const removing = report().mode === 'remove'
    if (!removing) {
      let waiting = true
      await Promise.race([checkTopology(() => waiting), pause(TOPOLOGY_MS, undefined, { ref: false })])
      waiting = false
    }
    // Rules first: without them, and without the link, a pod's token for the broker could leave this node.
    await rules(cause)
    if (!removing) await checkLink()
    await lookAtDataplane()
    // Nothing waits for these: other programs' tables may be large, and the metadata service may not answer.
    void search()
    void ask()
  }

  return { rules, link: checkLink, topology: () => checkTopology(() => false), all }
}
