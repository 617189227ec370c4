/**
 * Decides whether a namespace may use a role, both for admission (injector) and for issuance (broker).
 *
 * Two dialects are read from the namespace's annotations: kube2iam's `allowed-roles` (JSON array of globs or
 * regexps) and kiam's `permitted` (one regexp on the full ARN). Where both exist both must allow; where neither
 * exists, or one cannot be parsed, nothing is allowed. Regexps are RE2 and match the whole text.
 */
import { RE2JS } from 're2js'
import { BoundedMap } from './bounded-map.ts'
import { globMatches } from './glob.ts'
import { KEYS } from './keys.ts'
import { type Failed, failed } from './result.ts'
import { quote, type Role } from './role.ts'

/** The operator's side of the policy. */
export type PolicySettings = {
  /** `--namespace-restrictions`; off: every role is allowed that {@link permittedRoles} allow. */
  readonly restrictions: boolean
  /** `--namespace-restriction-format`: how entries of `allowed-roles` are read. */
  readonly format: 'glob' | 'regexp'
  /** Base role ARN ending in `/`; entries that are not ARNs match only below it. */
  readonly base: string | undefined
  /** `--permitted-roles`: the operator's ceiling, globs on the full ARN; empty: no ceiling. */
  readonly permittedRoles: readonly string[]
}

type Judgement = { readonly ok: true } | Failed

type Annotations = Readonly<Record<string, string>> | undefined

const MAX_PATTERNS = 256
const MAX_PATTERN_LENGTH = 512
/** Regexps in one list: unlike globs, each may take milliseconds. */
const MAX_REGEXPS = 32
/** Instructions of one compiled regexp; an ARN of 512 literal characters has 513. */
const MAX_PROGRAM = 1000
/** Of all regexps of one list. */
const MAX_LIST_PROGRAM = 4000
/** Compiling is not tried beyond this: it takes 0.2 s for 90,000 instructions. */
const MAX_ESTIMATE = 20_000
const MAX_REMEMBERED = 2048
/** Characters of a service account's list: tenants write it, and a broker keeps it for each account of its node. */
export const MAX_ACCOUNT_LIST = 16_384
const IS_NO_REGEXP = `is not a regexp (RE2, ASCII) of at most ${MAX_PATTERN_LENGTH} characters that compiles to at most ${MAX_PROGRAM} instructions, so nothing is allowed`
const ALLOWED: Judgement = { ok: true }

/**
 * Judges exactly the ARN that would be sent to STS.
 *
 * @param role the resolved role
 * @param namespace name and annotations of the pod's namespace, as they are now
 * @returns `ok`, or one sentence that says what to change
 */
export function judgeRole(
  role: Role,
  namespace: { readonly name: string; readonly annotations: Annotations },
  settings: PolicySettings,
): Judgement {
  const ceiling = settings.permittedRoles
  if (ceiling.length > 0 && !ceiling.some((glob) => globMatches(glob, role.arn)))
    return failed(`the operator's --permitted-roles do not include role ${quote(role.arn)}`)
  if (!settings.restrictions) return ALLOWED

  const allowedRoles = namespace.annotations?.[KEYS.allowedRoles]
  const permitted = namespace.annotations?.[KEYS.permitted]
  if (allowedRoles === undefined && permitted === undefined)
    return failed(
      `namespace ${namespace.name} allows no role: it has neither annotation ${KEYS.allowedRoles} nor ${KEYS.permitted}; ` +
        `to allow this one: kubectl annotate namespace ${namespace.name} '${KEYS.allowedRoles}=["${role.arn}"]'`,
    )
  if (allowedRoles !== undefined) {
    const judgement = judgeAllowedRoles(role, `namespace ${namespace.name}`, allowedRoles, settings)
    if (!judgement.ok) return judgement
  }
  if (permitted !== undefined) return judgePermitted(role, namespace.name, permitted)
  return ALLOWED
}

/**
 * Judges a role by the list of the pod's service account, in addition to {@link judgeRole}: both must allow. An account without a list
 * narrows nothing; one with a list does so also where namespaces are not restricted.
 *
 * @param list its annotation `allowed-roles`
 */
export function judgeAccount(
  role: Role,
  account: { readonly namespace: string; readonly name: string; readonly list: string | undefined },
  settings: PolicySettings,
): Judgement {
  const { namespace, name, list } = account
  if (list === undefined) return ALLOWED
  const owner = `service account ${namespace}/${name}`
  if (list.length > MAX_ACCOUNT_LIST)
    return failed(
      `annotation ${KEYS.allowedRoles} of ${owner} is longer than ${MAX_ACCOUNT_LIST} characters, so nothing is allowed`,
    )
  return judgeAllowedRoles(role, owner, list, settings)
}

/** @param owner of the annotation, as it appears in a sentence */
function judgeAllowedRoles(role: Role, owner: string, text: string, settings: PolicySettings): Judgement {
  const where = `annotation ${KEYS.allowedRoles} of ${owner}`
  const patterns = parsePatterns(text)
  if (patterns === undefined)
    return failed(`${where} is not a JSON array of at most ${MAX_PATTERNS} strings, so nothing is allowed`)
  if (settings.format === 'regexp') return judgeRegexps(role, owner, patterns, settings.base)
  if (patterns.some((pattern) => globAllows(pattern, role.arn, settings.base))) return ALLOWED
  return failed(`${owner} may not use role ${quote(role.arn)}: ${where} does not list it`)
}

function judgeRegexps(
  role: Role,
  owner: string,
  patterns: readonly string[],
  base: string | undefined,
): Judgement {
  const where = `annotation ${KEYS.allowedRoles} of ${owner}`
  if (patterns.length > MAX_REGEXPS)
    return failed(`${where} has more than ${MAX_REGEXPS} regexps, so nothing is allowed`)
  let allowed = false
  let program = 0
  for (const pattern of patterns) {
    const result = regexpAllows(pattern, role.arn, base)
    if (result === 'invalid') return failed(`${where}: ${quote(pattern)} ${IS_NO_REGEXP}`)
    program += result.program
    if (program > MAX_LIST_PROGRAM)
      return failed(
        `${where} has regexps that compile to more than ${MAX_LIST_PROGRAM} instructions in all, so nothing is allowed`,
      )
    allowed ||= result.matches
  }
  return allowed ? ALLOWED : failed(`${owner} may not use role ${quote(role.arn)}: ${where} does not list it`)
}

function judgePermitted(role: Role, namespace: string, pattern: string): Judgement {
  const where = `annotation ${KEYS.permitted} of namespace ${namespace}`
  if (pattern === '') return failed(`${where} is empty, so nothing is allowed`)
  const result = fullMatch(pattern, '', role.arn)
  if (result === 'invalid') return failed(`${where} ${IS_NO_REGEXP}`)
  return result.matches
    ? ALLOWED
    : failed(`namespace ${namespace} may not use role ${quote(role.arn)}: ${where} does not match it`)
}

/** The array in a kube2iam-style annotation, or undefined if it is not one within bounds. */
export function parsePatterns(text: string): readonly string[] | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (!Array.isArray(value) || value.length > MAX_PATTERNS) return undefined
    return value.every((entry) => typeof entry === 'string' && entry.length <= 2048) ? value : undefined
  } catch {
    return undefined
  }
}

function globAllows(pattern: string, arn: string, base: string | undefined): boolean {
  if (pattern.startsWith('arn:')) return globMatches(pattern, arn)
  if (base === undefined || !arn.startsWith(base)) return false
  return globMatches(pattern.replace(/^\//, ''), arn.slice(base.length))
}

/** Whether a regexp matches, and the instructions it compiles to. */
type Match = { readonly matches: boolean; readonly program: number } | 'invalid'

function regexpAllows(pattern: string, arn: string, base: string | undefined): Match {
  // People anchor by habit; in kube2iam `^arn:…$` could never match (kube2iam#341), here anchors are implied.
  const bare = pattern.replace(/^\^/, '').replace(/(?<!\\)\$$/, '')
  if (bare.startsWith('arn:')) return fullMatch(bare, '', arn)
  const result = fullMatch(bare, base ?? '', arn)
  return base === undefined && result !== 'invalid' ? { ...result, matches: false } : result
}

// Results, not compiled patterns: one pattern's automaton may grow to megabytes.
const results = new BoundedMap<string, Match>(MAX_REMEMBERED)

/** True when `prefix` and a match of the whole `pattern` make up `text`; `matches` anchors every alternative. */
function fullMatch(pattern: string, prefix: string, text: string): Match {
  if (pattern.length > MAX_PATTERN_LENGTH || !isCheap(pattern)) return 'invalid'
  // Neither a cheap pattern nor an ARN holds a line feed.
  const key = `${pattern}\n${prefix}\n${text}`
  const result = results.get(key) ?? compileAndMatch(pattern, prefix, text)
  // Also where it was known, so that the least recently used result is forgotten first.
  results.set(key, result)
  return result
}

function compileAndMatch(pattern: string, prefix: string, text: string): Match {
  try {
    const compiled = RE2JS.compile(pattern)
    const program = compiled.programSize()
    if (program > MAX_PROGRAM) return 'invalid'
    return { program, matches: text.startsWith(prefix) && compiled.matches(text.slice(prefix.length)) }
  } catch {
    return 'invalid'
  }
}

/**
 * Whether a pattern may be compiled at all. The estimate of its program is rough, and often far too high: a counted
 * repetition of a group counts as if it enclosed everything. Classes of all Unicode take milliseconds each, and
 * role ARNs are ASCII.
 */
function isCheap(pattern: string): boolean {
  if (!/^[ -~]*$/.test(pattern) || /\\(?:[pP]|x\{)/.test(pattern)) return false
  let size = pattern.length
  let factor = 1
  for (const [, group, least, most] of pattern.matchAll(/(\))?\{(\d+)(?:,(\d*))?\}/g)) {
    const count = Math.max(Number(least) + 1, Number(most ?? 0))
    if (group) factor *= count
    else size += 2 * count
  }
  return size * factor <= MAX_ESTIMATE
}
