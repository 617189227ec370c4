/** The start of a pod on a node whose cores others keep busy, with the CPU that our containers request by default and that they requested before. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { buildComponent } from '../../../build.ts'
import { benchGroups, machineLoad } from '../cpu-group.ts'
import { type Figure, median } from '../report.ts'
import type { PodStart, StartedPod } from './pod-start.ts'
import type { SidecarOptions } from './process.ts'
import { nowAndBefore } from './requests.ts'

const ROUNDS = 5
const TIMEOUT_MS = 540_000

type Row = StartedPod & { readonly name: string }

export async function starvedStartFigures({ workshop }: SidecarOptions): Promise<readonly Figure[]> {
  const rows = describedRows()
  const leftOut = (why: unknown) => {
    const note = `left out: ${why instanceof Error ? why.message.split('\n', 1)[0] : String(why)}`
    return rows.map(({ name }): Figure => ({ name, value: undefined, unit: 's', note }))
  }
  try {
    benchGroups().remove()
  } catch (error) {
    return leftOut(error)
  }
  await buildComponent('firewall', join(workshop.directory, 'firewall.cjs'))
  const script = join(import.meta.dirname, 'pod-start.ts')
  const args = [
    '--net',
    process.execPath,
    script,
    workshop.directory,
    workshop.tokenFile,
    JSON.stringify(rows),
  ]
  const { stdout } = await promisify(execFile)('unshare', args, { timeout: TIMEOUT_MS })
  const measured = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as PodStart[])
  return rows.map(({ name }, index) => figure(name, measured[index] ?? []))
}

function describedRows(): Row[] {
  const cases = [
    { what: 'a pod that requests nothing', app: 0, beside: 0 },
    { what: 'a pod of 0.1 CPU', app: 100, beside: 0 },
    { what: 'a pod of 2 CPU', app: 2000, beside: 0 },
    { what: 'a pod of 2 CPU with a native sidecar of 0.1 CPU that takes every core', app: 2000, beside: 100 },
  ]
  return cases.flatMap(({ what, app, beside }) =>
    nowAndBefore(app, beside).map((requests) => {
      const name = `start on a busy node: ${what}, sidecar ${requests.sidecar}m, gate ${requests.gate}m`
      return { name, requests, beside, rounds: ROUNDS }
    }),
  )
}

function figure(name: string, starts: readonly PodStart[]): Figure {
  const seconds = (of: keyof PodStart) => starts.map((start) => start[of] / 1000)
  const note =
    `median of ${starts.length}, worst ${Math.max(...seconds('whole')).toFixed(1)}; sidecar ready after ${median(seconds('sidecar')).toFixed(2)}, ` +
    `the gate, begun after 1, took ${median(seconds('gate')).toFixed(2)}; ${machineLoad()}`
  return { name, value: median(seconds('whole')), unit: 's', note }
}
