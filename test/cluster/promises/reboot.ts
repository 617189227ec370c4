/** A node that was rebooted. */
import type { KubeObject } from '../../sandbox/kube/objects.ts'
import { readyPods } from '../cluster-pods.ts'
import type { Context } from '../context.ts'
import { clients, expectClosed, expectServed, probers } from '../load.ts'
import { isReady, type NodeObject, nodeNamed } from '../nodes.ts'
import { container, podObject } from '../pods.ts'
import { expect, type Group, until } from '../promise.ts'
import { guardsReady } from '../rollout.ts'

/** Sync, remount read-only, reboot: the node's own init need not cooperate. */
const REBOOT = "for (const key of 'sub') require('fs').writeFileSync('/proc/sysrq-trigger', key)"

export const reboot: Group = {
  title: 'Reboot',
  promises: [
    {
      name: 'after a reboot the block is back, and pods have credentials again',
      leftOut: ({ access, options }) =>
        access.noReboot ?? (options.mayReboot ? undefined : 'pass --may-reboot for it'),
      show: async (context) => {
        const [client] = await readyPods(context, 'shop', 'client')
        const name = client?.spec.nodeName
        expect(name !== undefined, 'no client runs on a node')
        const before = await nodeNamed(context, name)
        await rebootNode(context, before)
        await until(context, `${name} with another boot id`, async () => {
          const { status } = await nodeNamed(context, name)
          return status?.nodeInfo?.bootID !== before.status?.nodeInfo?.bootID && isReady(status)
        })
        await guardsReady(context)
        const closed = await expectClosed(context, await probers(context))
        return `${closed}; ${await expectServed(context, await clients(context))}`
      },
    },
  ],
}

async function rebootNode(context: Context, { metadata, spec }: NodeObject): Promise<void> {
  const { access } = context
  const { name = '' } = metadata
  if (access.reboot !== undefined) return access.reboot(name)
  expect(
    !/^(kind|docker|namespace):/.test(spec?.providerID ?? ''),
    'this node is a container, or namespaces of a machine: that one would reboot',
  )
  await access.kube.create(rebooter(context, name))
}

function rebooter({ run }: Context, nodeName: string): KubeObject {
  const own = {
    ...container(run, 'idle'),
    command: [run.node, '-e', REBOOT],
    securityContext: { privileged: true, runAsUser: 0 },
  }
  const spec = { nodeName, hostPID: true, restartPolicy: 'Never', containers: [own] }
  return podObject(run, { app: 'reboot', place: 'plain', spec })
}
