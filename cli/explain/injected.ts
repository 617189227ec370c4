/** Whether the pod has the sidecar that it should have, for the identity that its annotations name. */
import { annotatedIdentity, sameIdentity } from '../../common/identity.ts'
import { SIDECAR_CONTAINER } from '../../common/keys.ts'
import { podRecord } from '../product/broker.ts'
import { type JsonObject, sentence } from '../product/injector.ts'
import { remedyFor, type Subject } from './remedies.ts'
import { type Finding, failed, ok } from './step.ts'

export function injectedFinding(pod: JsonObject, subject: Subject): Finding {
  const { namespace, roleKey } = subject
  const record = podRecord(pod, roleKey)
  if (record?.identity === undefined) {
    const detail = sentence('injection-missing', { roleKey, namespace, detail: '' })
    return failed('injection-missing', detail, remedyFor('injection-missing', subject))
  }
  const { identity } = record
  if (sameIdentity(identity, annotatedIdentity(record.annotations, roleKey, identity)))
    return ok(
      identity.source === 'service-account'
        ? `it has ${SIDECAR_CONTAINER}, for the role that its service account named when it was created: ${identity.role}`
        : `it has ${SIDECAR_CONTAINER}, for the role it names`,
    )
  const detail = sentence('identity-changed', { roleKey, namespace, detail: 'the role' })
  return failed('identity-changed', detail, remedyFor('identity-changed', subject))
}
