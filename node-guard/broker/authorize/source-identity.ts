import { createHash } from 'node:crypto'
import { type Setting, SettingError } from '../../../common/settings.ts'

/** STS: `[\w+=,.@-]*`, 2 to 64 characters; some pages of its documentation omit the plus. */
const MAX_LENGTH = 64
const TAIL_HEX = 20 // 80 bits
/** Used only before a hash: names in Kubernetes do not contain this character, and templates must not contain it. */
const MARK = '='
/**
 * The namespace is followed by a character that no namespace contains, so that two pairs of namespace and service account never give the
 * same text. STS does not allow the slash that people would write there.
 */
const TEMPLATE = /^[\w,.@-]{0,24}\{namespace\}[,.@_]\{service-account\}$/

/** The setting `--source-identity`. */
export const sourceIdentityTemplate: Setting<string | undefined> = {
  parse: (value) => {
    if (value === '') return undefined
    if (TEMPLATE.test(value)) return value
    throw new SettingError(
      'must be {namespace}.{service-account}, where the dot may also be , @ or _, with a prefix of at most 24 letters, digits and any of _,.@-',
    )
  },
  fallback: () => undefined,
  shownDefault: 'none',
  help: 'SourceIdentity of sessions, such as {namespace}.{service-account}; roles must then allow sts:SetSourceIdentity',
}

/** The source identity of a pod's session: the template with its namespace and service account; if that is too long, its beginning and a hash of both. */
export function sourceIdentityOf(
  template: string,
  { namespace, serviceAccount }: { readonly namespace: string; readonly serviceAccount: string },
): string {
  const text = template.replace('{namespace}', namespace).replace('{service-account}', serviceAccount)
  if (text.length <= MAX_LENGTH) return text
  const identity = JSON.stringify([namespace, serviceAccount])
  const hash = createHash('sha256').update(identity).digest('hex').slice(0, TAIL_HEX)
  return `${text.slice(0, MAX_LENGTH - TAIL_HEX - MARK.length)}${MARK}${hash}`
}
