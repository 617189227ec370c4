import type { Logger } from '../../../common/log.ts'
import type { Exec } from '../process/exec.ts'
import { readHostNetwork } from '../status/host-network.ts'
import { removeHostNetwork } from './backends.ts'
import type { HostNetwork } from './counts.ts'

/** What the guard knows and does about pods on the host network; their rules are kept by the command `host-network`. */
export function createHostNetworkView(options: {
  readonly exec: Exec
  readonly mode: 'off' | HostNetwork['mode']
  readonly directory: string
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}) {
  const { exec, mode, directory, now, log } = options
  let known: HostNetwork | undefined
  let cleaned: string | undefined
  /** Begins to remove, once, the rules of other backends than this one. The guard's first report does not wait for it. */
  const clean = (used: HostNetwork['backend']) => {
    const key = used ?? 'none'
    if (cleaned === key) return
    cleaned = key
    void removeHostNetwork(exec, used).then((failures) => {
      if (failures.length === 0) return
      log.warn('host network rules not removed', { detail: failures.join('; ') })
      cleaned = undefined
    })
  }
  return {
    /** The last report; undefined before the first look, and where `--host-network` is off. */
    state: () => known,
    /** Reads the report, and removes the rules that earlier settings left. Never throws. */
    look: async () => {
      if (mode === 'off') return clean(undefined)
      known = await readHostNetwork(directory, mode, now())
      // Not only once they are verified: rules that drop a proof earlier would keep those of another backend from counting it.
      if (known.backend !== undefined) clean(known.backend)
    },
  }
}
