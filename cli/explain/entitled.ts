/** What the broker of the pod's node thinks of it now: policy may have changed since the pod was admitted. */
import { Problem } from '../../common/protocol.ts'
import {
  type AccountRecord,
  type BrokerSettings,
  entitle,
  entitlementSettings,
  namespaceRecord,
  podRecord,
} from '../product/broker.ts'
import type { JsonObject } from '../product/injector.ts'
import { remedyFor, type Subject } from './remedies.ts'
import { type Finding, failed, ok, unseen } from './step.ts'

/**
 * @param broker settings of the broker of that node; undefined where they are not known
 * @param account its service account; undefined where it may not be read
 * @param base the base role ARN of the injector, where the broker has none of its own
 */
export function entitledFinding(
  pod: JsonObject,
  namespace: JsonObject,
  broker: BrokerSettings | undefined,
  account: AccountRecord | undefined,
  base: string | undefined,
  subject: Subject,
): Finding {
  const record = podRecord(pod, subject.roleKey)
  if (broker === undefined || record === undefined)
    return unseen('the settings of the broker of its node are not known')
  if (record.identity?.source === 'none') return ok('it asks for region and placement alone')
  if (broker.serviceAccountRoles && account === undefined)
    return unseen('its service account may not be read, which may narrow its roles')
  const known = broker.baseRoleArn ?? base
  const asks = record.identity?.role
  if (known === undefined && !asks?.startsWith('arn:'))
    return unseen(
      'what role its name means only the broker knows, which reads the base role ARN from its node',
    )
  try {
    const roles = { base: known, own: [] }
    const settings = entitlementSettings(broker)
    const { request } = entitle(record, namespaceRecord(namespace), roles, settings, account)
    return ok(`the broker asks STS for ${request.roleArn}, as session ${request.sessionName}`)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    if (error.code === 'role-not-set')
      return ok('there is no role for it: it gets region and placement, and no credentials')
    return failed(error.code, error.message, remedyFor(error.code, subject))
  }
}
