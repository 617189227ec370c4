/** The firewall's bench: the built bundle on a node of network namespaces, as its containers run it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildComponent } from '../../../build.ts'
import { namespaceSupport } from '../../sandbox/node/namespace-support.ts'
import { findTool } from '../../sandbox/node/tools.ts'
import type { Bench, Figure } from '../report.ts'
import { cpuFigures } from './cpu.ts'
import { gapFigures, isAnyAsked } from './gaps.ts'
import { gateFigures } from './gate.ts'
import { memoryFigures } from './memory.ts'
import { CROWDED_NODES, sizeFigures, sizeName } from './size.ts'

const PROCESSES = 3
const ROUNDS = 25
const KILLS = 5
const GATES = 25
/** Backends, and the number of rules that other programs have beside theirs. */
const CPU_OF = [
  ['nft', 0],
  ['iptables', 0],
  ['iptables-legacy', 0],
  ['iptables-legacy', 3000],
] as const

export const benchFirewall: Bench = async (tell, asked) => {
  const support = namespaceSupport()
  if (support.kind === 'none') return [leftOut('everything', support.reason)]
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bench-'))
  const bundle = join(directory, 'firewall.cjs')
  const figures: Figure[] = []
  /** A part that fails must not fail the others. */
  const part = async (
    name: string,
    measure: () => Promise<readonly Figure[]>,
    wanted: boolean = asked(name),
  ) => {
    if (!wanted) return
    tell(name)
    try {
      figures.push(...(await measure()))
    } catch (error) {
      figures.push(leftOut(name, error instanceof Error ? error.message : String(error)))
    }
  }
  try {
    await buildComponent('firewall', bundle)
    for (const owned of [false, true])
      await part(owned ? 'memory with the owned table' : 'memory', () =>
        memoryFigures(bundle, owned, owned ? 1 : PROCESSES),
      )
    const python = findTool('python3') === undefined ? 'python3 not found; install python3' : undefined
    if (python !== undefined) return [...figures, leftOut('gate and gaps', python)]
    await part('gate', () => gateFigures(bundle, GATES))
    for (const crowd of CROWDED_NODES) await part(sizeName(crowd), () => sizeFigures(bundle, crowd, tell))
    for (const [backend, others] of CPU_OF)
      await part(`CPU, ${backend}`, () => cpuFigures(bundle, backend, others))
    for (const kind of ['routed', 'bridge'] as const)
      for (const [backend, owned] of [
        ['nft', false],
        ['nft', true],
        ['iptables', false],
        ['iptables-legacy', false],
      ] as const) {
        const options = { bundle, kind, backend, owned, rounds: ROUNDS, kills: KILLS, asked }
        const name = `gaps: ${kind}, ${backend}${owned ? ', owned table' : ''}`
        await part(name, () => gapFigures(options), isAnyAsked(options))
      }
    return figures
  } finally {
    await rm(directory, { recursive: true })
  }
}

const leftOut = (name: string, why: string): Figure => ({
  name,
  value: undefined,
  unit: '',
  note: `left out: ${why}`,
})
