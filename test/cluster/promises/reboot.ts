/** A node is rebooted. */
import { readyPods, restarts } from '../cluster-pods.ts'
import type { Context } from '../context.ts'
import { CLIENT, clients, expectClosed, expectServed, PROBER, type Probers, probers } from '../load.ts'
import { guardOn } from '../nodes.ts'
import { expect, type Group, until } from '../promise.ts'
import { bootAgain } from '../rebooting.ts'
import { guardsReady } from '../rollout.ts'
import { closedFromBoot } from './boot-rules.ts'

export const reboot: Group = {
  title: 'Reboot',
  promises: [
    {
      name: 'after a reboot the block is in place, and pods get credentials again',
      leftOut: ({ access, options }) =>
        access.noReboot ?? (options.mayReboot ? undefined : 'pass --may-reboot for it'),
      show: rebooted,
    },
    closedFromBoot,
  ],
}

async function rebooted(context: Context): Promise<string> {
  const [client] = await readyPods(context, CLIENT.place, CLIENT.app)
  const name = client?.spec.nodeName
  expect(name !== undefined, 'no client runs on a node')
  const [guard, tried] = [await guardOn(context, name), await probers(context)]
  await bootAgain(context, name)
  // Until its kubelet has looked at the node's pods, the API reports their state of before the reboot.
  await until(context, `${name}'s guard again`, async () => {
    return restarts(await guardOn(context, name)) > restarts(guard)
  })
  await guardsReady(context)
  const back = await probers(context)
  const gap = await openings(context, name, tried, back)
  const closed = await expectClosed(context, back)
  const served = await expectServed(context, await clients(context))
  return `${closed}; ${served}; before the guard was back, ${gap} connections of a pod without a role came through`
}

/** Connections that a prober made after its node had booted and before the guard was back (docs/threat-model.md); on other nodes there was none. */
async function openings(
  context: Context,
  nodeName: string,
  before: Probers,
  after: Probers,
): Promise<number> {
  const pods = await readyPods(context, PROBER.place, PROBER.app)
  let gap = 0
  for (const { metadata, spec } of pods) {
    const { name = '' } = metadata
    const opened = after.get(name)?.opened ?? 0
    if (spec.nodeName === nodeName) gap += opened
    else expect(opened === (before.get(name)?.opened ?? 0), `the endpoint was open on ${spec.nodeName}, too`)
  }
  return gap
}
