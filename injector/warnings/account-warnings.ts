/** Warns whoever applies a service account whose pods will be refused because of its annotations, or whose list has no effect. */
import { injectionMode, KEYS } from '../../common/keys.ts'
import { judgeAccount } from '../../common/policy.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { metadataOf, nameOf, objectOf } from '../json.ts'
import { accountName, accountRole, listOf } from '../pod/account.ts'
import { admittedIdentity } from '../pod/identity.ts'
import type { Namespace } from '../pod/namespace.ts'
import { whyNothingIsAllowed } from './misspelt-values.ts'

/** @param object the service account */
export function accountWarnings(
  object: unknown,
  namespace: Namespace,
  settings: InjectionSettings,
): string[] {
  if (injectionMode(namespace.labels) === undefined) return []
  const annotations = objectOf(metadataOf(object).annotations) as Readonly<Record<string, string>>
  const account = { namespace: namespace.name, name: nameOf(object), annotations }
  const list = listOf(account)
  const { serviceAccountKey, otherServiceAccountKeys } = settings
  if ([serviceAccountKey, ...otherServiceAccountKeys].every((key) => key === undefined))
    return list.list === undefined
      ? []
      : [
          `annotation ${KEYS.allowedRoles} of ${accountName(account)} has no effect, because roles of service accounts are off: ` +
            `have the operator turn on policy.serviceAccountRoles, or narrow the list of namespace ${namespace.name}`,
        ]
  const unreadable = whyNothingIsAllowed((role) => judgeAccount(role, list, settings.policy))
  if (unreadable !== undefined)
    return [
      `pods of ${accountName(account)} with a role will be refused until its list is corrected or removed: ${unreadable}`,
    ]
  if (accountRole(account, settings.serviceAccountKey) === undefined) return []
  const identity = admittedIdentity({}, namespace, settings, account)
  return identity.ok
    ? identity.warnings.slice()
    : [`pods of ${accountName(account)} that name no role themselves will be refused: ${identity.detail}`]
}
