import { KEYS } from '../../../common/keys.ts'
import { parsePatterns } from '../../../common/policy.ts'

// STS AssumeRole, ExternalId.
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/

/**
 * Why a pod's external id may not be used, or undefined when it may. The value itself is never part of the
 * sentence: it is treated as a secret.
 *
 * @param externalId the pod's annotation; empty counts as absent, as in kube2iam
 * @param namespace name and annotations of the pod's namespace
 */
export function whyNotExternalId(
  externalId: string | undefined,
  namespace: { readonly name: string; readonly annotations: Readonly<Record<string, string>> },
): string | undefined {
  if (!externalId) return undefined
  if (!EXTERNAL_ID.test(externalId))
    return `annotation ${KEYS.externalId} is not an external id: 2 to 1224 letters, digits or any of +=,.@:/_-`
  const list = namespace.annotations[KEYS.allowedExternalIds]
  if (list === undefined) return undefined
  const where = `annotation ${KEYS.allowedExternalIds} of namespace ${namespace.name}`
  const allowed = parsePatterns(list)
  if (allowed === undefined) return `${where} is not a JSON array of strings, so no external id is allowed`
  return allowed.includes(externalId) ? undefined : `${where} does not list the pod’s external id`
}
