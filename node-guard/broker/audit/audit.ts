/** Reports issuances and refusals: as log lines and, if a person has to change something, as Events. */
import type { Problem } from '../../../common/protocol.ts'
import { type PodRecord, podName } from '../kubernetes/pod.ts'
import type { SessionsDeps } from '../sessions/sessions.ts'
import { podEvents } from './events.ts'
import { refusalLog } from './refusal-log.ts'

export function auditTrail(
  deps: Parameters<typeof podEvents>[0],
  nodeName: string,
  onEvent: Parameters<typeof podEvents>[2],
) {
  const events = podEvents(deps, nodeName, onEvent)
  const refusals = refusalLog(deps.log, deps.clock)
  /** One audit line per issuance: who got what, until when, and why. It contains neither keys nor the external id. */
  const onIssued: SessionsDeps['on']['issued'] = ({ pod, request }, { expiration }, reason) =>
    deps.log.info('credentials issued', {
      audit: true,
      pod: podName(pod),
      uid: pod.uid,
      role: request.roleArn,
      sessionName: request.sessionName,
      ...(request.sourceIdentity === undefined ? {} : { sourceIdentity: request.sourceIdentity }),
      ...(request.policyArns.length === 0 ? {} : { sessionPolicies: request.policyArns }),
      expiration: new Date(expiration).toISOString(),
      reason,
    })
  const onRefused = (pod: Pick<PodRecord, 'uid' | 'namespace' | 'name'>, problem: Problem) => {
    refusals.refused(pod, problem)
    events.report(pod, problem)
  }
  return { onIssued, onRefused, onRejected: refusals.rejected }
}
