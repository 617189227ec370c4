/** The processor time of an undisturbed guard. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Figure } from '../report.ts'
import type { BenchBackend } from './disturbances.ts'
import { openBenchNode, startGuard } from './process.ts'

const SECONDS = 20
/** USER_HZ, which is the same on every architecture that we know. */
const TICKS_PER_SECOND = 100

/**
 * CPU time of the guard and of the commands that it ran to their end; its monitors sleep.
 *
 * @param others the number of rules that another program has in the backend's filter table (iptables)
 */
export async function cpuFigures(bundle: string, backend: BenchBackend, others: number): Promise<Figure[]> {
  const node = await openBenchNode('routed')
  try {
    if (others > 0) {
      const rules = Array.from(
        { length: others },
        (_, i) => `-A OUTPUT -d 10.1.${i >> 8}.${i & 255} -j ACCEPT`,
      )
      const input = ['*filter', ...rules, 'COMMIT', ''].join('\n')
      await node.must('node', [`iptables-${backend === 'iptables-legacy' ? 'legacy' : 'nft'}-restore`], input)
    }
    const guard = await startGuard(node, bundle, [], backend)
    await sleep(2000)
    const before = cpuSeconds(guard.pid)
    await sleep(SECONDS * 1000)
    const value = ((cpuSeconds(guard.pid) - before) / SECONDS) * 100
    const beside = others > 0 ? `, ${others} rules of others` : ''
    return [
      { name: `CPU, ${backend}${beside}`, value, unit: '% of a core', note: `${SECONDS} s undisturbed` },
    ]
  } finally {
    await node.close()
  }
}

/** See proc_pid_stat(5): utime, stime, cutime and cstime are fields 14 to 17, and the name may contain anything. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
  return fields.map(Number).reduce((a, b) => a + b, 0) / TICKS_PER_SECOND
}
