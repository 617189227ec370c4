/** The memory that the rest of a large cluster costs. */
import { setTimeout as sleep } from 'node:timers/promises'
import { KEYS } from '../../../common/keys.ts'
import type { Figure } from '../report.ts'
import { spawnBroker, type Workshop } from './process.ts'

const OTHERS = 10_000

/** Memory of a broker that has just started, among pods of other nodes and namespaces that did not opt in. */
export async function sizeFigure(workshop: Workshop): Promise<Figure> {
  const { world } = workshop
  const { admin } = world.api
  const spec = { nodeName: 'node-2', ...world.containers({ [KEYS.role]: 'app-0' }) }
  for (let index = 0; index < OTHERS; index++) {
    const metadata = { name: `other-${index}`, namespace: 'team-0', annotations: { [KEYS.role]: 'app-0' } }
    await admin.create({ apiVersion: 'v1', kind: 'Pod', metadata, spec })
    if (index % 10 === 0)
      await admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: `other-${index}` } })
  }
  const broker = await spawnBroker(workshop)
  try {
    await sleep(1500)
    const name = 'private memory, peak before anybody asks, in a large cluster'
    const note = `${OTHERS} pods of other nodes, ${OTHERS / 10} namespaces that did not opt in`
    return { name, value: broker.peak(), unit: 'MiB', note }
  } finally {
    await broker.end()
  }
}
