/** How fast documents are served with a session token, at 1 and 16 connections. */
import { runLoad } from '../load.ts'
import type { Figure } from '../report.ts'
import { documentRequest, firstDocument, type SidecarOptions, spawnSidecar } from './process.ts'

/** @param requests of each of the four loads */
export async function latencyFigures(options: SidecarOptions, requests: number): Promise<Figure[]> {
  const sidecar = await spawnSidecar(options)
  try {
    await firstDocument(sidecar)
    const bytes = await documentRequest(sidecar.port)
    const figures: Figure[] = []
    for (const keepAlive of [true, false])
      for (const connections of [1, 16]) {
        const load = { port: sidecar.port, bytes, requests, connections, keepAlive }
        const { p50, p99, perSecond, failures } = await runLoad(load)
        const where = `${connections} connection${connections === 1 ? '' : 's'}, ${keepAlive ? 'kept alive' : 'new each time'}`
        figures.push(
          { name: `p50, ${where}`, value: p50, unit: 'µs', note: `${Math.round(perSecond)} requests/s` },
          { name: `p99, ${where}`, value: p99, unit: 'µs' },
          { name: `failures, ${where}`, value: failures, unit: '', target: 0, note: `of ${requests}` },
        )
      }
    return figures
  } finally {
    await sidecar.end()
  }
}
