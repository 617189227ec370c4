/** Start of the sidecar and of a bare node:http listener, in turns, so that both run under the same conditions. */
import { type Figure, median } from '../report.ts'
import { first200, firstDocument, type SidecarOptions, spawnBare, spawnSidecar } from './process.ts'

/** @param rounds number of starts of each */
export async function startFigures(options: SidecarOptions, rounds: number): Promise<Figure[]> {
  const [bare, sidecar, document]: [number[], number[], number[]] = [[], [], []]
  for (let round = 0; round < rounds; round++) {
    const plain = await spawnBare(options.workshop, options.flags)
    bare.push((await first200(plain).finally(plain.end)) - plain.startedAt)
    const ours = await spawnSidecar(options)
    sidecar.push((await first200(ours).finally(ours.end)) - ours.startedAt)
    const another = await spawnSidecar(options)
    document.push((await firstDocument(another).finally(another.end)) - another.startedAt)
  }
  const note = `median of ${rounds}, in turns`
  return [
    { name: 'start to first 200, bare node:http', value: median(bare), unit: 'ms', note },
    { name: 'start to first 200', value: median(sidecar), unit: 'ms', note: `${note}; GET /` },
    { name: 'start to first 200 ÷ bare', value: median(sidecar) / median(bare), unit: '', target: 1.15 },
    { name: 'start to first credentials', value: median(document), unit: 'ms', note },
  ]
}
