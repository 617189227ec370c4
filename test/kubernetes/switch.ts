/** The switch of the nodes: a bridge in the network namespace of the test. */
import { tool } from '../sandbox/node/tools.ts'
import { CONTROL_PLANE, type NodePlan } from './layout.ts'
import { command } from './program.ts'

export const SWITCH = 'switch'

/** Creates it, with the address of the control plane and the routes to all pods, because the API server calls webhooks at their pods. */
export async function makeSwitch(nodes: readonly NodePlan[]): Promise<void> {
  const ip = (words: string) => command([tool('ip'), ...words.split(' ')])
  await ip('link set lo up')
  await ip(`link add ${SWITCH} type bridge`)
  await ip(`addr add ${CONTROL_PLANE}/24 dev ${SWITCH}`)
  await ip(`link set ${SWITCH} up`)
  for (const { subnet, address } of nodes) await ip(`route add ${subnet} via ${address}`)
}
