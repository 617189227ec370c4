/** All that the command line takes from the node guard: the shape of what it tells of its node. */
import type { Status } from '../../node-guard/firewall/report/report.ts'
import { missingStatus } from '../../node-guard/firewall/status/file.ts'

export type { Status }
export { missingStatus }

export type Sighting = Status['audit'][number]
