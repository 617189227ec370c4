/** The sidecar's bench: the built bundle, as its container runs it, with a stand-in for the broker on loopback. */
import { openWorkshop, startBroker } from '../../sidecar/support/index.ts'
import type { Bench, Figure } from '../report.ts'
import { cpuFigures } from './cpu.ts'
import { kube2iamFigures } from './kube2iam.ts'
import { latencyFigures } from './latency.ts'
import { manySidecars, memoryFigures, underLimit } from './memory.ts'
import type { SidecarOptions } from './process.ts'
import { startFigures } from './start.ts'
import { starvedFigures } from './starved.ts'
import { starvedStartFigures } from './starved-start.ts'

const PROCESSES = 5
const ROUNDS = 25
const MANY = 50
const REQUESTS = 5000

export const benchSidecar: Bench = async (tell, asked) => {
  const workshop = await openWorkshop()
  const broker = await startBroker()
  const options = { workshop, brokerUrl: broker.url }
  const figures: Figure[] = []
  try {
    if (asked('usual')) figures.push(...(await usualFigures(options, tell)))
    if (asked('cpu')) {
      tell('processor time')
      figures.push(...(await cpuFigures(options, PROCESSES)))
    }
    if (asked('starved')) figures.push(...(await starvedFigures(options, tell)))
    if (asked('start on a busy node')) {
      tell('start on a busy node')
      figures.push(...(await starvedStartFigures(options)))
    }
    if (asked('kube2iam')) {
      tell('side by side with kube2iam')
      figures.push(...(await kube2iamFigures(options)))
    }
    return figures
  } finally {
    await broker.close()
    workshop.remove()
  }
}

async function usualFigures(options: SidecarOptions, tell: (what: string) => void): Promise<Figure[]> {
  const figures: Figure[] = []
  tell('memory')
  figures.push(...(await memoryFigures(options, PROCESSES)))
  tell(`${MANY} at once`)
  figures.push(await manySidecars(options, MANY))
  tell('start')
  figures.push(...(await startFigures(options, ROUNDS)))
  tell('latency')
  figures.push(...(await latencyFigures(options, REQUESTS)))
  for (const limit of [32, 24]) {
    tell(`a limit of ${limit} MiB`)
    figures.push(...(await underLimit(options, limit)))
  }
  return figures
}
