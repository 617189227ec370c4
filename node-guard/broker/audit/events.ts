/** Reports refusals as Events on the pod if a person has to change something. */
import { type EventPod, eventWriter } from '../../../common/kube/events.ts'
import type { Problem, ProblemCode } from '../../../common/protocol.ts'

/** A temporary problem is not reported as an Event. */
const REASONS: Partial<Record<ProblemCode, string>> = {
  'namespace-not-enabled': 'NamespaceNotEnabled',
  'role-not-allowed': 'RoleNotAllowed',
  'identity-changed': 'IdentityChanged',
  'sts-denied': 'AssumeRoleDenied',
  'sts-invalid': 'AssumeRoleInvalid',
  'node-unguarded': 'NodeUnguarded',
}

/** How often the count of a persistent refusal is written; the API server keeps Events for an hour. */
const UPDATE_MS = 5 * 60_000
const MAX_KNOWN = 1024

/** @param onOutcome called after every attempt to write an Event */
export function podEvents(
  deps: Parameters<typeof eventWriter>[0],
  nodeName: string,
  onOutcome: Parameters<typeof eventWriter>[2],
) {
  const policy = {
    controller: 'pod2iam.dev/broker',
    instance: nodeName,
    repeatMs: UPDATE_MS,
    isCounted: true,
    maxKnown: MAX_KNOWN,
  }
  const write = eventWriter(deps, policy, onOutcome)
  return {
    /** Reports a refusal. Never throws and never waits. */
    report: (pod: EventPod, { code, message }: Problem) => {
      const reason = REASONS[code]
      if (reason !== undefined) write(pod, { reason, action: 'IssueCredentials', note: message })
    },
  }
}
