/** Where a pod's credentials come from: what the operator allows, what a namespace chooses, and how both reach the broker. */
import { KEYS } from './keys.ts'
import { type Failed, failed } from './result.ts'
import { quote } from './role.ts'
import { invalid, type Setting } from './settings.ts'

/**
 * `node-role`: the broker assumes the pod's role with the node's role. `web-identity`: with a second projected token of the pod, so that
 * the node's role needs no permission, and no process on the node can get the pod's credentials without that token.
 */
export const CREDENTIAL_SOURCES = ['node-role', 'web-identity'] as const
export type CredentialSource = (typeof CREDENTIAL_SOURCES)[number]

/** Variable of the sidecar in which the injector freezes a pod's source; absent means `node-role`. */
export const CREDENTIAL_SOURCE_ENV = 'POD2IAM_CREDENTIAL_SOURCE'
/** Default audience of the second token: the one that STS and the trust policies of IRSA expect. */
export const WEB_IDENTITY_AUDIENCE = 'sts.amazonaws.com'

/** The setting `--credential-sources`: the first is the default, the list is what namespaces may choose. */
export const credentialSources: Setting<readonly CredentialSource[]> = {
  repeatable: true,
  fallback: () => ['node-role'],
  shownDefault: 'node-role',
  help: 'where credentials come from, node-role or web-identity; the first is the default, and namespaces may choose among them',
  parse: (value) => {
    const entries = value.split(',').map((entry) => entry.trim())
    const sources = entries.map(
      (entry) =>
        CREDENTIAL_SOURCES.find((source) => source === entry) ??
        invalid(`has ${JSON.stringify(entry)}, which is neither node-role nor web-identity`),
    )
    if (new Set(sources).size < sources.length) invalid('names one of them twice')
    return sources
  },
}

/** The setting `--web-identity-audience`. */
export const webIdentityAudience: Setting<string> = {
  parse: (value) =>
    /^[\x21-\x7e]{1,256}$/.test(value) && !/[\\"$,]/.test(value)
      ? value
      : invalid('must be an audience such as sts.amazonaws.com'),
  fallback: () => WEB_IDENTITY_AUDIENCE,
  shownDefault: WEB_IDENTITY_AUDIENCE,
  help: 'audience of the second token, with which roles are assumed by web identity',
}

type SourceResult = { readonly ok: true; readonly source: CredentialSource } | Failed

/**
 * The source for new pods in a namespace: the one in its annotation, if the operator's list has it, otherwise the first in the list. Pods cannot choose.
 *
 * @param allowed the operator's list, not empty
 */
export function sourceOfNamespace(
  namespace: { readonly name: string; readonly annotations: Readonly<Record<string, string>> },
  allowed: readonly CredentialSource[],
): SourceResult {
  const text = namespace.annotations[KEYS.credentialSource]
  const source = text === undefined ? allowed[0] : allowed.find((one) => one === text)
  if (source !== undefined) return { ok: true, source }
  const choice = allowed.map((one) => JSON.stringify(one)).join(' or ')
  return failed(
    `namespace ${namespace.name}: annotation ${KEYS.credentialSource} must be ${choice}, which is what the operator's ` +
      `--credential-sources allow, not ${quote(text ?? '')}`,
  )
}

/** The source in a sidecar's env; undefined if this release does not know it. */
export function sourceOfEnv(
  env: readonly { readonly name: string; readonly value?: string }[] | undefined,
): CredentialSource | undefined {
  const entry = env?.find(({ name }) => name === CREDENTIAL_SOURCE_ENV)
  return entry === undefined ? 'node-role' : CREDENTIAL_SOURCES.find((source) => source === entry.value)
}
