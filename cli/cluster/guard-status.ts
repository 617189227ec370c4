import type { V1Pod } from '@kubernetes/client-node'
import { missingStatus, type Status } from '../product/guard.ts'
import type { Cluster } from './cluster.ts'
import { execIn } from './exec.ts'

/** In the guard's image. */
const COMMAND = ['/nodejs/bin/node', '/pod2iam/firewall.cjs', 'status', '--json']
/** The guard looks at its node's rules for up to five seconds. */
const STATUS_MS = 20_000

export type GuardStatus =
  /** What the guard itself says. */
  | { readonly kind: 'told'; readonly status: Status }
  /** Its container may not be entered. */
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'failed'; readonly detail: string }

/** `firewall status --json` in a node guard's pod. */
export async function guardStatus(cluster: Cluster, guard: V1Pod): Promise<GuardStatus> {
  const { name = '', namespace = '' } = guard.metadata ?? {}
  const answer = await execIn(cluster, { namespace, name }, 'firewall', COMMAND, STATUS_MS)
  if (answer.kind !== 'reached') return answer
  const status = read(answer.value)
  return status === undefined
    ? { kind: 'failed', detail: 'its firewall prints no status that is understood here' }
    : { kind: 'told', status }
}

/** What another release leaves out is as where there is none. */
function read(text: string): Status | undefined {
  try {
    const status: Partial<Status> | null = JSON.parse(text)
    if (typeof status?.verified !== 'boolean') return undefined
    return { ...missingStatus({ code: '', detail: '' }), warnings: [], ...status }
  } catch {
    return undefined
  }
}
