/** What the broker of the pod's node would decide now: policy may have changed since the pod was admitted. */
import { Problem } from '../../common/protocol.ts'
import {
  type AccountRecord,
  type BrokerSettings,
  entitlementOf,
  entitlementSettings,
  namespaceRecord,
  podRecord,
} from '../product/broker.ts'
import type { JsonObject } from '../product/injector.ts'
import { remedyFor, type Subject } from './remedies.ts'
import { type Finding, failed, notChecked, ok } from './step.ts'

/**
 * @param broker settings of the broker of that node; undefined if they are not known
 * @param account its service account; undefined if it may not be read
 * @param base the base role ARN of the injector, in case the broker has none
 */
export function entitlementFinding(
  pod: JsonObject,
  namespace: JsonObject,
  broker: BrokerSettings | undefined,
  account: AccountRecord | undefined,
  base: string | undefined,
  subject: Subject,
): Finding {
  const record = podRecord(pod, subject.roleKey)
  if (broker === undefined || record === undefined)
    return notChecked('the settings of the broker on its node are not known')
  if (record.identity?.source === 'none') return ok('it asks only for Region and placement')
  if (broker.serviceAccountRoles && account === undefined)
    return notChecked('you may not read its service account, which may narrow its roles')
  const known = broker.baseRoleArn ?? base
  const asks = record.identity?.role
  if (known === undefined && !asks?.startsWith('arn:'))
    return notChecked(
      'the full ARN of its role is known only to the broker, which reads the base role ARN from its node',
    )
  try {
    const roles = { base: known, own: [] }
    const settings = entitlementSettings(broker)
    const { request } = entitlementOf(record, namespaceRecord(namespace), roles, settings, account)
    const { roleArn, sessionName, sourceIdentity, policyArns } = request
    const by = sourceIdentity === undefined ? '' : `, with source identity ${sourceIdentity}`
    const narrowed = policyArns.length === 0 ? '' : `, narrowed by ${policyArns.join(' and ')}`
    return ok(`the broker asks STS for ${roleArn}, as session ${sessionName}${by}${narrowed}`)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    if (error.code === 'role-not-set')
      return ok('there is no role for it: it gets Region and placement, but no credentials')
    return failed(error.code, error.message, remedyFor(error.code, subject))
  }
}
