/** Private memory of the guard: after its start, and after its rules were flushed again and again. */
import { setTimeout as sleep } from 'node:timers/promises'
import { memoryOf } from '../memory.ts'
import { type Figure, median } from '../report.ts'
import { rulesBack } from './disturbances.ts'
import { openBenchNode, startGuard } from './process.ts'

const FLUSHES = 300
/** Memory is read this long after a load, because what is freed a moment later is not what a guard costs. */
const SETTLE_MS = 1500

/** Medians of some processes, without nft and ip, which the guard runs. */
export async function memoryFigures(bundle: string, owned: boolean, processes: number): Promise<Figure[]> {
  const runs: { idle: number; grown: number }[] = []
  for (let run = 0; run < processes; run++)
    runs.push(await grown(bundle, owned ? ['--owned-table=true'] : []))
  const what = `private memory${owned ? ', owned table' : ''}`
  const note = `median of ${processes} processes`
  return [
    { name: `${what}, idle`, value: median(runs.map(({ idle }) => idle)), unit: 'MiB', target: 16, note },
    {
      name: `${what}, after ${FLUSHES} flushes`,
      value: median(runs.map(({ grown }) => grown)),
      unit: 'MiB',
      target: 16,
      note,
    },
  ]
}

async function grown(bundle: string, flags: readonly string[]): Promise<{ idle: number; grown: number }> {
  const node = await openBenchNode('routed')
  try {
    const guard = await startGuard(node, bundle, flags)
    await sleep(SETTLE_MS)
    const idle = memoryOf(guard.pid).privateDirty
    for (let flush = 0; flush < FLUSHES; flush++) {
      await node.must('node', ['nft', 'flush ruleset'])
      await rulesBack(node, 'nft')
    }
    await sleep(SETTLE_MS)
    return { idle, grown: memoryOf(guard.pid).privateDirty }
  } finally {
    await node.close()
  }
}
