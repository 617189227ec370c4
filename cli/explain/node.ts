/** Whether the pod's node is guarded and has a broker. */
import type { V1Pod } from '@kubernetes/client-node'
import type { Cluster } from '../cluster/cluster.ts'
import { guardStatus } from '../cluster/guard-status.ts'
import type { Installation } from '../cluster/installation.ts'
import { lastError, statusOf } from './start.ts'
import { type Finding, failed, notChecked, ok, warning } from './step.ts'

const SEE_NODES = 'pod2iam status shows the node guard of each node'

export function guardOf({ guards }: Installation, node: string | undefined): V1Pod | undefined {
  return guards
    .filter(({ spec, metadata }) => spec?.nodeName === node && metadata?.deletionTimestamp === undefined)
    .at(-1)
}

/** What the node's guard reports or, if it may not be asked, what its probes show. */
export async function nodeFinding(
  cluster: Cluster,
  installation: Installation,
  node: string,
): Promise<Finding> {
  const guard = guardOf(installation, node)
  if (guard === undefined) {
    if (!installation.isListable) return notChecked('you may not list the pods of the node guard')
    return failed(
      'guard-missing',
      `node ${node} has no node guard, so no pod there gets credentials`,
      'make the DaemonSet of the node guard select and tolerate this node: guard.nodeSelector, guard.tolerations',
    )
  }
  const answer = await guardStatus(cluster, guard)
  if (answer.kind === 'reached' && !answer.value.verified) {
    const [first] = answer.value.warnings
    return failed(
      first?.code ?? 'node-unguarded',
      `the guard of node ${node} has not verified its block: ${first?.detail ?? 'it does not say why'}`,
      SEE_NODES,
    )
  }
  const unready = ['firewall', 'broker'].find((name) => statusOf(guard, name)?.ready !== true)
  if (unready !== undefined) return notReady(guard, unready, node)
  if (answer.kind === 'failed')
    return warning('guard-not-asked', `its guard runs, but its status could not be read: ${answer.detail}`)
  if (answer.kind === 'forbidden') return ok('its guard and broker are ready, according to their probes')
  return answer.value.mode === 'audit'
    ? ok(`node ${node} is in audit mode: nothing is refused there, and pods get credentials`)
    : ok(
        `the guard of node ${node} has verified its block (${answer.value.backend}), and its broker is ready`,
      )
}

function notReady(guard: V1Pod, container: string, node: string): Finding {
  const status = statusOf(guard, container)
  const last = lastError(status)
  const waits = status?.state?.waiting?.reason
  const { namespace, name } = guard.metadata ?? {}
  return failed(
    `${container === 'broker' ? 'broker' : 'guard'}-not-ready`,
    `the ${container} of node ${node} is not ready${last ? `: ${last}` : waits ? `: ${waits}` : ''}`,
    `kubectl -n ${namespace} logs ${name} -c ${container}`,
  )
}
