/** Everything that the command line uses from the node guard: the type of its status report. */
import type { Status } from '../../node-guard/firewall/status/status.ts'

export { missingStatus, type Status } from '../../node-guard/firewall/status/status.ts'

export type Sighting = Status['audit'][number]
