import type { Logger } from '../../../common/log.ts'
import type { Exec } from '../process/exec.ts'
import { readHostNetwork } from '../status/host-network.ts'
import type { HostNetwork } from './counts.ts'
import { removeHostNetwork } from './keeper.ts'

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
  let isAsked = false
  const remove = async () => {
    const failure = await removeHostNetwork(exec)
    if (failure === undefined || failure.unusable) return
    log.warn('host network rules not removed', { detail: failure.detail })
    isAsked = false
  }
  return {
    /** The last report; undefined before the first look, and where `--host-network` is off. */
    state: () => known,
    /** Reads the report; with `off`, begins to remove, once, the rules that an earlier setting left. Never throws. */
    look: async () => {
      if (mode !== 'off') known = await readHostNetwork(directory, mode, now())
      else if (!isAsked) {
        isAsked = true
        // The guard's first report does not wait for it.
        void remove()
      }
    },
  }
}
