/** The broker's bench: the built bundle, as its container runs it, between the sandbox's API server and AWS. */
import type { TestPod } from '../../broker/world.ts'
import type { Bench, Figure } from '../report.ts'
import { burstFigures, sharedFigure, underLimit } from './burst.ts'
import { dayFigures } from './day.ts'
import { largeNodeFigures } from './large.ts'
import { openWorkshop } from './process.ts'
import { sizeFigure } from './size.ts'
import { warmFigures, withoutFlags } from './warm.ts'

/** The kubelet's default limit. */
const PODS = 110
const ROLES = 11
const NAMESPACES = 5
const ROUNDS = 3

/** More pods than the kubelet's default, as EKS and clusters with other settings run them. */
const LARGE = [500, 250]

export const benchBroker: Bench = async (tell, asked) => {
  const figures: Figure[] = asked('usual') ? [...(await usualNode(tell))] : []
  for (const pods of LARGE)
    if (asked('large'))
      figures.push(...(await largeNodeFigures(pods, (what) => tell(`${pods} pods: ${what}`))))
  return figures
}

const usualNode = async (tell: (what: string) => void): Promise<readonly Figure[]> => {
  const workshop = await openWorkshop()
  const { world } = workshop
  const figures: Figure[] = []
  try {
    tell(`${PODS} pods`)
    for (let index = 0; index < ROLES; index++) await world.role(`app-${index}`)
    for (let index = 0; index < NAMESPACES; index++) await world.namespace(`team-${index}`)
    const pods: TestPod[] = []
    for (let index = 0; index < PODS; index++)
      pods.push(
        await world.pod(`team-${index % NAMESPACES}`, `pod-${index}`, { role: `app-${index % ROLES}` }),
      )
    tell('cold start')
    figures.push(...(await burstFigures(workshop, pods, ROUNDS)))
    figures.push(await sharedFigure(workshop, pods, ROLES))
    for (const limit of [64, 48]) {
      tell(`a limit of ${limit} MiB`)
      figures.push(await underLimit(workshop, pods, limit))
    }
    tell('warm issuance')
    const here = await world.pod('team-0', 'here', { role: 'app-0', podIPs: ['127.0.0.1'] })
    figures.push(...(await warmFigures(workshop, here)), await withoutFlags(workshop, here))
    tell('a large cluster')
    figures.push(await sizeFigure(workshop))
    tell('a day in simulated time')
    figures.push(...(await dayFigures(PODS)))
    return figures
  } finally {
    await world.stop()
  }
}
