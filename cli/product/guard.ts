/** Everything that the command line uses from the node guard: the type of its status report. */
import type { Status } from '../../node-guard/firewall/report/report.ts'
import { missingStatus } from '../../node-guard/firewall/status/file.ts'

export type { Status }
export { missingStatus }

export type Sighting = Status['audit'][number]
