import { messageOf } from '../../../common/errors.ts'
import { writeFirewallState } from '../../../common/firewall-state.ts'
import type { Logger } from '../../../common/log.ts'
import { writeStatus } from '../status/file.ts'
import { thisNetwork } from '../status/leftovers.ts'
import { firewallStateOf, type GuardReport, statusOf, validSecondsOf } from './report.ts'

/** Writes what the broker and `firewall status` read. */
export function createPublisher(options: {
  readonly directory: string
  readonly metadata: readonly string[]
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}) {
  const { directory, metadata, now, log } = options
  let fault: string | undefined
  return {
    /** Why it could not be written; one sentence, or undefined. */
    fault: () => fault,
    /** Never throws. Not to be called while it runs. */
    publish: async (report: () => GuardReport) => {
      try {
        await writeFirewallState(directory, firewallStateOf(report()))
        // In mode `remove` nobody looks for leftovers.
        const network = report().mode === 'remove' ? undefined : await thisNetwork()
        await writeStatus(directory, {
          version: 1,
          writtenAt: new Date(now()).toISOString(),
          validSeconds: validSecondsOf(report()),
          ...(network === undefined ? {} : { lookedAt: { network, metadata } }),
          status: statusOf(report()),
        })
        fault = undefined
      } catch (error) {
        const detail = `the state cannot be written to ${directory} (${messageOf(error)}): mount a writable directory there, shared with the broker`
        if (detail !== fault) log.error('state not written', { detail })
        fault = detail
      }
    },
  }
}
