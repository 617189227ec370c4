/** A prober in a pod: how often a connection to the real endpoint gets through, and for how long at a time. */
import { once } from 'node:events'
import { join } from 'node:path'
import type { NetworkName, TestNode } from '../../firewall/node.ts'

/** The requested rate; the rate that was reached is in the {@link Probed}. */
const PER_SECOND = 1100

export type Probed = {
  readonly seconds: number
  /** Probes by outcome: `through`, `refused`, `lost`. */
  readonly outcomes: Readonly<Record<string, number>>
  /** Milliseconds from the first probe that went through to the first that did not, after the last that did. */
  readonly gaps: readonly number[]
  /** Milliseconds: the longest time between two probes, in which a gap could remain unnoticed. */
  readonly longestPause: number
}

const SCRIPT = join(import.meta.dirname, 'prober.py')

/** Starts one; the returned function ends it. */
export async function startProber(
  node: TestNode,
  from: NetworkName,
  address: string,
): Promise<() => Promise<Probed>> {
  const child = node.spawn(from, ['python3', SCRIPT, address, '80', String(PER_SECOND)])
  let output = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr?.pipe(process.stderr)
  const closed = once(child, 'close')
  await Promise.race([once(child.stdout ?? child, 'data'), closed])
  return async () => {
    child.stdin?.end()
    await closed
    const report = output.trim().split('\n').at(-1) ?? ''
    if (!report.startsWith('{')) throw new Error('the prober ended without a report')
    return JSON.parse(report) as Probed
  }
}

export const probesOf = ({ outcomes }: Probed): number => Object.values(outcomes).reduce((a, b) => a + b, 0)
