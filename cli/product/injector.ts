/** Everything that the command line uses from the injector: its own decision, so that the two cannot differ. */

import { type Failed, failed } from '../../common/result.ts'
import { parseSettings } from '../../common/settings.ts'
import { type Decision, decide } from '../../injector/admission/decide.ts'
import { type InjectionSettings, injectionSettings } from '../../injector/injection-settings.ts'
import { isObject, type JsonObject } from '../../injector/json.ts'
import { readPeer } from '../../injector/peers/peer.ts'
import { accountName, accountRole, type ServiceAccount } from '../../injector/pod/account.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { podOfTemplate } from '../../injector/pod/template.ts'
import { type Reason, sentence } from '../../injector/reasons.ts'
import { INJECTION_SPEC, SPEC } from '../../injector/settings.ts'
import { misspeltKeys } from '../../injector/warnings/misspelt-keys.ts'
import { namespaceValues, podValues } from '../../injector/warnings/misspelt-values.ts'

export type { Decision, InjectionSettings, JsonObject, Namespace, Reason, ServiceAccount }
export {
  accountName,
  accountRole,
  decide,
  isObject,
  misspeltKeys,
  namespaceValues,
  podOfTemplate,
  podValues,
  readPeer,
  sentence,
}

/** Placeholder images, which do not affect the decision. */
const IMAGES = ['--sidecar-image=pod2iam-sidecar', '--node-guard-image=pod2iam-node-guard']

/**
 * The injector's settings from flags, with its defaults for the rest.
 *
 * @param flags `--base-role-arn=…`, as on its command line
 */
export function settingsOfFlags(
  flags: readonly string[],
): { readonly ok: true; readonly settings: InjectionSettings } | Failed {
  const given = new Set(flags.map((one) => one.replace(/=.*/s, '')))
  const images = IMAGES.filter((one) => !given.has(one.replace(/=.*/s, '')))
  const parsed = parseSettings(INJECTION_SPEC, { argv: [...images, ...flags], env: {} })
  return parsed.ok
    ? { ok: true, settings: injectionSettings(parsed.settings) }
    : failed(parsed.errors.join(' '))
}

/** The namespaces that an injector ignores, from the arguments of its container. */
export function untouchedNamespaces(argv: readonly string[]): readonly string[] {
  const { untouchedNamespaces } = SPEC
  const parsed = parseSettings({ untouchedNamespaces }, { argv, env: {}, unknownFlags: 'ignored' })
  return parsed.ok ? parsed.settings.untouchedNamespaces : []
}
