import type { V1Pod } from '@kubernetes/client-node'
import { missingStatus, type Status } from '../product/guard.ts'
import type { Cluster } from './cluster.ts'
import { execIn, type PodAnswer } from './exec.ts'

/** Path in the guard's image. */
const COMMAND = ['/nodejs/bin/node', '/pod2iam/firewall.cjs', 'status', '--json']
/** The guard takes up to five seconds to examine its node's rules. */
const STATUS_MS = 20_000

/** Runs `firewall status --json` in a node guard's pod. */
export async function guardStatus(cluster: Cluster, guard: V1Pod): Promise<PodAnswer<Status>> {
  const { name = '', namespace = '' } = guard.metadata ?? {}
  const answer = await execIn(cluster, { namespace, name }, 'firewall', COMMAND, STATUS_MS)
  if (answer.kind !== 'reached') return answer
  const status = read(answer.value)
  return status === undefined
    ? { kind: 'failed', detail: 'its firewall prints a status that this program does not understand' }
    : { kind: 'reached', value: status }
}

/** Fields that another release omits have the same values as in a missing report. */
function read(text: string): Status | undefined {
  try {
    const status: Partial<Status> | null = JSON.parse(text)
    if (typeof status?.verified !== 'boolean') return undefined
    return { ...missingStatus({ code: '', detail: '' }), warnings: [], ...status }
  } catch {
    return undefined
  }
}
