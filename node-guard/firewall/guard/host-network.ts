import type { Logger } from '../../../common/log.ts'
import { removeHostNetwork } from '../host-network/backends.ts'
import type { Exec } from '../process/exec.ts'
import { readHostNetwork } from '../status/host-network.ts'
import type { HostNetwork } from '../status/status.ts'

/** What the guard itself knows and does about pods on the host network; the command `host-network` keeps their rules. */
export function createHostNetwork(options: {
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
      // Also before they are verified: rules of another backend that drop the proofs earlier would keep them from being counted.
      if (known.backend !== undefined) clean(known.backend)
    },
  }
}
