import type { Logger } from '../../../common/log.ts'
import { podName } from '../kubernetes/pod.ts'
import type { SessionsOptions } from '../sessions/sessions.ts'

/** One audit line per issuance: who got what, until when, and why. Neither keys nor the external id. */
export function issuanceLog(log: Logger): SessionsOptions['on']['issued'] {
  return ({ pod, request }, { expiration }, reason) =>
    log.info('credentials issued', {
      audit: true,
      pod: podName(pod),
      uid: pod.uid,
      role: request.roleArn,
      sessionName: request.sessionName,
      expiration: new Date(expiration).toISOString(),
      reason,
    })
}
