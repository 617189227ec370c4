/** Everything that the command line uses from the broker: its own decision about what a pod may have. */
import { parseSettings } from '../../common/settings.ts'
import { entitlementOf } from '../../node-guard/broker/authorize/entitlement.ts'
import { trustStatement } from '../../node-guard/broker/aws/explain.ts'
import { type NamespaceRecord, namespaceRecord } from '../../node-guard/broker/kubernetes/namespaces.ts'
import { type PodRecord, podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { type AccountRecord, accountRecord } from '../../node-guard/broker/kubernetes/service-accounts.ts'
import {
  BROKER_SETTINGS,
  type BrokerSettings,
  entitlementSettings,
} from '../../node-guard/broker/settings.ts'

export type { AccountRecord, BrokerSettings, NamespaceRecord, PodRecord }
export { accountRecord, entitlementOf, entitlementSettings, namespaceRecord, podRecord, trustStatement }

/** A broker's settings from the arguments of its container; undefined if they cannot be parsed. */
export function brokerSettings(argv: readonly string[], nodeName: string): BrokerSettings | undefined {
  const env = { POD2IAM_NODE_NAME: nodeName }
  const parsed = parseSettings(BROKER_SETTINGS, { argv, env, unknownFlags: 'ignored' })
  return parsed.ok ? parsed.settings : undefined
}
