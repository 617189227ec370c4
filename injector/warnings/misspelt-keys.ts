/**
 * Warns of labels and annotations that were meant for pod2iam but that it does not know, which nothing else reports. Under our own prefix
 * every unknown key is reported; under shared prefixes only near misses are.
 */
import { KEYS } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import { editDistance } from './edit-distance.ts'
import { type Form, type OwnKey, ownKeys, type Place, partsOf } from './own-keys.ts'

export type TextMetadata = {
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

/** An answer has at most ten warnings, so no more are looked for. */
const MAX_WARNINGS = 10
/** Compared keys with a prefix like ours, and compared prefixes: about 15 and 5 µs each. */
const MAX_KEYS = 500
const MAX_PREFIXES = 500
/** The API server accepts no longer keys. */
const MAX_KEY = 320
const OWN_PREFIX = partsOf(KEYS.redirect).prefix
const SHARED_PREFIX = partsOf(KEYS.externalId).prefix
/** Names that similar tools use for our keys, without separators. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  rolearn: KEYS.role,
  iamrole: KEYS.role,
  allowed: KEYS.allowedRoles,
  permittedroles: KEYS.permitted,
}

/**
 * One sentence for each key that is misspelt, or has no effect in its place.
 *
 * @param roleKey the configured key of the role annotation; kube2iam's own is left alone beside it
 */
export function misspeltKeys({ annotations, labels }: TextMetadata, place: Place, roleKey: string): string[] {
  const known = ownKeys(roleKey)
  const isNear = nearPrefixes(known)
  const warnings: string[] = []
  let compared = 0
  for (const [form, map] of [
    ['annotation', annotations],
    ['label', labels],
  ] as const)
    for (const key in map) {
      if (key.length > MAX_KEY || !isNear(key)) continue
      if (warnings.length >= MAX_WARNINGS || ++compared > MAX_KEYS) return warnings
      const warning = ofKey(key, form, place, known, roleKey)
      if (warning !== undefined) warnings.push(warning)
    }
  return warnings
}

/** Whether a key's prefix is ours or a near miss; each prefix is compared once. */
function nearPrefixes(known: readonly OwnKey[]): (key: string) => boolean {
  const ours = new Set(known.map(({ key }) => partsOf(key).prefix))
  const seen = new Map<string, boolean>()
  return function isNear(key) {
    const { prefix } = partsOf(key)
    if (prefix === '') return known.some((one) => one.key === key)
    const before = seen.get(prefix)
    if (before !== undefined) return before
    if (seen.size >= MAX_PREFIXES) return ours.has(prefix)
    const lower = prefix.toLowerCase()
    const is = [...ours].some((one) => one !== '' && prefixDistance(lower, one) <= 2)
    seen.set(prefix, is)
    return is
  }
}

function ofKey(
  key: string,
  form: Form,
  place: Place,
  known: readonly OwnKey[],
  roleKey: string,
): string | undefined {
  const exact = known.find((one) => one.key === key)
  if (exact !== undefined) return misplaced(exact, form, place)
  if (key === KEYS.role && roleKey !== KEYS.role) return undefined
  const { prefix, name } = partsOf(key)
  const meant = nearest(key, name, place, known, roleKey)
  const given = `${form} ${quote(key)}`
  if (meant !== undefined) return `${given} means nothing to pod2iam: did you mean ${formed(meant, form)}?`
  return prefix === OWN_PREFIX
    ? `${given} means nothing to pod2iam: remove it, or write the key that is meant`
    : undefined
}

function formed({ key, form }: OwnKey, written: Form): string {
  return form === written ? key : `the ${form} ${key}`
}

/** For a correctly spelt key of ours that has no effect in its place. */
function misplaced(
  { key, form, places, isWritten }: OwnKey,
  written: Form,
  place: Place,
): string | undefined {
  if (isWritten) return undefined
  if (form !== written)
    return `${key} has no effect as ${article(written)} ${written}: write it as ${article(form)} ${form}`
  if (places.includes(place)) return undefined
  const instead = place === 'pod' ? 'it belongs on the namespace' : 'it belongs on pods'
  return `${form} ${key} has no effect on a ${place}: ${instead}`
}

const article = (form: Form) => (form === 'annotation' ? 'an' : 'a')

/** The distance of two prefixes, up to 3; our name with another domain (`pod2iam.io`) is a near miss too. */
function prefixDistance(prefix: string, known: string): number {
  if (known === OWN_PREFIX && /^pod2iam(?:[.]|$)/.test(prefix)) return prefix === known ? 0 : 1
  if (known === SHARED_PREFIX && /^iam[.](?:aws|amazon|amazonaws)(?:[.]|$)/.test(prefix))
    return prefix === known ? 0 : 1
  return editDistance(prefix, known, 2)
}

/** Our key with the most similar name, preferably with the same prefix, and one that has an effect in this place. */
function nearest(
  key: string,
  name: string,
  place: Place,
  known: readonly OwnKey[],
  roleKey: string,
): OwnKey | undefined {
  const bare = simplified(name)
  const alias = OTHER_NAMES[bare]
  if (alias !== undefined) return known.find((one) => one.key === (alias === KEYS.role ? roleKey : alias))
  let best: { readonly own: OwnKey; readonly score: number } | undefined
  for (const own of known) {
    if (own.isWritten) continue
    const parts = partsOf(own.key)
    const wanted = simplified(parts.name)
    // A short word has too many others at a distance of two letters.
    const max = wanted.length < 6 ? 1 : 2
    const distance = editDistance(bare, wanted, max)
    if (distance > max) continue
    const elsewhere = partsOf(key).prefix === parts.prefix ? 0 : 0.5
    const score = distance + elsewhere + (own.places.includes(place) ? 0 : 0.25)
    if (best === undefined || score < best.score) best = { own, score }
  }
  return best?.own
}

/** Makes `allowedRoles`, `allowed_roles` and `allowed-roles` equal. */
function simplified(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '')
}
