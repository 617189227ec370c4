/**
 * Labels and annotations that somebody meant for pod2iam and that it does not know: nothing else would ever say so. Under our own
 * prefix every unknown key is one; under others only near misses are, since those prefixes have other users.
 */
import { KEYS } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import { editDistance } from './edit-distance.ts'
import { type Form, type OwnKey, ownKeys, type Place, partsOf } from './own-keys.ts'

export type Marked = {
  readonly annotations: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

/** An answer has no more, so nothing beyond is looked for. */
const MAX_WARNINGS = 10
/** Keys with a prefix that is nearly ours, and different prefixes, that are compared: some 15 and 5 µs each. */
const MAX_KEYS = 500
const MAX_PREFIXES = 500
/** Longer keys than the API server takes are nobody's. */
const MAX_KEY = 320
const OWN_PREFIX = partsOf(KEYS.redirect).prefix
const SHARED_PREFIX = partsOf(KEYS.externalId).prefix
/** Names that people use for ours elsewhere, without separators. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  rolearn: KEYS.role,
  iamrole: KEYS.role,
  allowed: KEYS.allowedRoles,
  permittedroles: KEYS.permitted,
}

/**
 * One sentence for each key that is misspelt, or stands where it has no effect.
 *
 * @param roleKey the configured key of the role annotation; kube2iam's own is left alone beside it
 */
export function misspeltKeys({ annotations, labels }: Marked, place: Place, roleKey: string): string[] {
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

/** Whether a key's prefix is one of ours, or nearly; each prefix is compared once. */
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
    ? `${given} means nothing to pod2iam: remove it, or look up the key that is meant`
    : undefined
}

function formed({ key, form }: OwnKey, written: Form): string {
  return form === written ? key : `the ${form} ${key}`
}

/** A key of ours that is written as it should be, where it has no effect. */
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

/** Of two prefixes, up to 3; another domain behind a name of ours (`pod2iam.io`) is a near miss, too. */
function prefixDistance(prefix: string, known: string): number {
  if (known === OWN_PREFIX && /^pod2iam(?:[.]|$)/.test(prefix)) return prefix === known ? 0 : 1
  if (known === SHARED_PREFIX && /^iam[.](?:aws|amazon|amazonaws)(?:[.]|$)/.test(prefix))
    return prefix === known ? 0 : 1
  return editDistance(prefix, known, 2)
}

/** The key of ours whose name is nearest: first one of the same prefix, first one that has its place here. */
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
    // Of a short word too many others are two letters away.
    const most = wanted.length < 6 ? 1 : 2
    const distance = editDistance(bare, wanted, most)
    if (distance > most) continue
    const elsewhere = partsOf(key).prefix === parts.prefix ? 0 : 0.5
    const score = distance + elsewhere + (own.places.includes(place) ? 0 : 0.25)
    if (best === undefined || score < best.score) best = { own, score }
  }
  return best?.own
}

/** Without what people write in different ways: `allowedRoles`, `allowed_roles` and `allowed-roles`. */
function simplified(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '')
}
