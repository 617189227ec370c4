/** Reboots a node. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import type { Context } from './context.ts'
import { isReady, type NodeObject, nodeNamed } from './nodes.ts'
import { container, podObject } from './pods.ts'
import { expect, until } from './promise.ts'

/** Sync, remount read-only, reboot: the node's own init need not cooperate. */
const REBOOT = "for (const key of 'sub') require('fs').writeFileSync('/proc/sysrq-trigger', key)"

/** Reboots a node and waits until it is ready. The API may still report the state of its pods from before the reboot. */
export async function bootAgain(context: Context, name: string): Promise<void> {
  const before = await nodeNamed(context, name)
  await rebootNode(context, before)
  await until(context, `${name} with another boot id`, async () => {
    const { status } = await nodeNamed(context, name)
    return status?.nodeInfo?.bootID !== before.status?.nodeInfo?.bootID && isReady(status)
  })
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
