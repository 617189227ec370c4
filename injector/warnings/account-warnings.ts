/** Warns whoever applies a service account whose pods will be refused because of its annotations. */
import { injectionMode } from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { metadataOf, nameOf, objectOf } from '../json.ts'
import { accountName, accountRole } from '../pod/account.ts'
import { admittedIdentity } from '../pod/identity.ts'
import type { Namespace } from '../pod/namespace.ts'

/** @param object the service account */
export function accountWarnings(
  object: unknown,
  namespace: Namespace,
  settings: InjectionSettings,
): string[] {
  if (injectionMode(namespace.labels) === undefined) return []
  const annotations = objectOf(metadataOf(object).annotations) as Readonly<Record<string, string>>
  const account = { namespace: namespace.name, name: nameOf(object), annotations }
  if (accountRole(account, settings.serviceAccountKey) === undefined) return []
  const identity = admittedIdentity({}, namespace, settings, account)
  return identity.ok
    ? identity.warnings.slice()
    : [`pods of ${accountName(account)} that name no role themselves will be refused: ${identity.detail}`]
}
