/** What the process that keeps the rules about the host network reports to the guard, which serves status and metrics. */
import { join } from 'node:path'
import { messageOf } from '../../../common/errors.ts'
import { readBoundedFile } from '../../../common/read-bounded.ts'
import { replaceFile } from '../../../common/replace-file.ts'
import { HOST_NETWORK, isCount, isObjectOf, isTime } from './shape.ts'
import type { HostNetwork } from './status.ts'

type Report = HostNetwork & { readonly version: 1; readonly writtenAt: string; readonly validSeconds: number }

const FILE = 'host-network.json'
const MAX_BYTES = 512 * 1024

/** Replaces the report; a reader never sees half of it. */
export function writeHostNetwork(directory: string, report: Report): Promise<void> {
  return replaceFile(directory, FILE, report)
}

/**
 * The report as far as it is still valid; never throws.
 *
 * @param now milliseconds
 */
export async function readHostNetwork(
  directory: string,
  mode: HostNetwork['mode'],
  now: number,
): Promise<HostNetwork> {
  const not = (detail: string, from?: HostNetwork): HostNetwork => ({
    ...(from ?? { repairs: 0, packets: { allowed: 0, others: 0, unknown: 0 }, pods: [] }),
    ...{ mode, verified: false, detail },
  })
  let report: unknown
  try {
    report = JSON.parse(await readBoundedFile(join(directory, FILE), MAX_BYTES))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? not(
          'the container host-network has not reported: it has to run beside this one, with its --state-dir',
        )
      : not(`the report of the container host-network cannot be read (${messageOf(error)}): look at its log`)
  }
  if (!isReport(report)) return not('the container host-network is of another release')
  const { version: _, writtenAt, validSeconds, ...known } = report
  // What an earlier process used says nothing about now.
  const stale = { ...known, backend: undefined }
  const age = (now - Date.parse(writtenAt)) / 1000
  if (!(age >= -5 && age <= validSeconds))
    return not(`the container host-network last reported at ${writtenAt}: look at its log`, stale)
  if (known.mode !== mode)
    return not(`the container host-network runs with --mode ${known.mode}, not ${mode}`, known)
  return known
}

const isReport = isObjectOf<Report>({
  ...HOST_NETWORK,
  version: (value) => value === 1,
  writtenAt: isTime,
  validSeconds: isCount,
})
