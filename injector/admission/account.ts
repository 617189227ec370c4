/** The service account of the pod under review, if the decision may depend on it. */
import { injectionMode, KEYS } from '../../common/keys.ts'
import { KubeError } from '../../common/kube/client.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject, metadataOf, objectOf } from '../json.ts'
import type { ServiceAccount } from '../pod/account.ts'
import type { Namespace } from '../pod/namespace.ts'
import { MIRROR_KEY } from '../pod/unsupported.ts'
import { LookupError, type ReviewContext } from './verdict.ts'

/** The annotation keys from which the running replicas read roles of service accounts; undefined stands for a replica that reads none. */
const accountKeys = ({ serviceAccountKey, otherServiceAccountKeys }: InjectionSettings) => [
  serviceAccountKey,
  ...otherServiceAccountKeys,
]

/** Functions that judge by this replica's settings, and then by the service account keys of other replicas, while they serve. */
export function byEveryKey<T>(
  settings: InjectionSettings,
  account: ServiceAccount | undefined,
  judge: (settings: InjectionSettings) => T,
): [() => T, ...(() => T)[]] {
  const [own, ...others] = accountKeys(settings)
  const by = (serviceAccountKey: string | undefined) => () => judge({ ...settings, serviceAccountKey })
  // A replica whose own setting is off follows the others, so it has not ignored an account that can be read.
  const isOn = own !== undefined && account !== undefined
  return [by(own), ...others.filter((key) => key !== undefined || !isOn).map(by)]
}

/**
 * Reads the service account of a pod under review.
 *
 * @param head the pod with its annotations and the name of its service account
 * @returns undefined if the decision does not depend on the account
 * @throws {LookupError}
 */
export async function accountOf(
  head: unknown,
  namespace: Namespace,
  { lookUpAccount }: Pick<ReviewContext, 'lookUpAccount'>,
  settings: InjectionSettings,
): Promise<ServiceAccount | undefined> {
  const keys = accountKeys(settings)
  if (keys.every((key) => key === undefined) || injectionMode(namespace.labels) === undefined)
    return undefined
  const annotations = objectOf(metadataOf(head).annotations)
  const inject = annotations[KEYS.inject]
  if (inject === 'false' || inject === 'metadata' || annotations[MIRROR_KEY] !== undefined) return undefined
  const { serviceAccountName } = isObject(head) ? objectOf(head.spec) : {}
  try {
    return await lookUpAccount(String(serviceAccountName || 'default'))
  } catch (error) {
    // When the setting is turned off, the permission disappears before the last replica that still has the setting.
    const isForbidden =
      error instanceof LookupError && error.cause instanceof KubeError && error.cause.status === 403
    if (isForbidden && keys.includes(undefined)) return undefined
    throw error
  }
}
