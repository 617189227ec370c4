/** Warns of invalid values of our keys where no refused pod would show them. */
import { HOST_NETWORK_ALLOWED, injectionMode, KEYS } from '../../common/keys.ts'
import { LOG_LEVELS } from '../../common/log.ts'
import { judgeRole, type PolicySettings, parsePatterns } from '../../common/policy.ts'
import { parseRoleArn, quote, type Role, resolveRole } from '../../common/role.ts'
import { parseSessionPolicies } from '../../common/session-policies.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { ANY_BASE } from '../pod/identity.ts'
import type { Namespace } from '../pod/namespace.ts'
import { namedSources } from '../pod/options.ts'
import { CONTAINER_MODES, GATE_MODES, REDIRECT_MODES, TOKEN_MODES } from '../settings.ts'
import { editDistance } from './edit-distance.ts'

type Texts = Readonly<Record<string, string>>

const POD_CHOICES: Readonly<Record<string, readonly string[]>> = {
  [KEYS.inject]: ['false', 'metadata'],
  [KEYS.redirect]: REDIRECT_MODES,
  [KEYS.imdsTokens]: TOKEN_MODES,
  [KEYS.containerCredentials]: CONTAINER_MODES,
  [KEYS.startupGate]: GATE_MODES,
  [KEYS.logLevel]: LOG_LEVELS,
}
/** Values by which people mean that a namespace is not opted in, which is also their effect. */
const OPTED_OUT = new Set(['', 'disabled', 'false', 'off', 'no', 'none'])
const OPTED_IN = new Set(['true', 'on', 'yes'])

/** Warnings for a pod or a pod template. */
export function podValues(annotations: Texts): string[] {
  const policies = annotations[KEYS.sessionPolicyArns]
  const read = policies === undefined ? undefined : parseSessionPolicies(policies, undefined)
  return [
    ...Object.entries(POD_CHOICES).flatMap(([key, values]) =>
      choice(`annotation ${key}`, annotations[key], values),
    ),
    ...(read === undefined || read.ok ? [] : [`annotation ${KEYS.sessionPolicyArns} ${read.detail}`]),
  ]
}

/** Warnings for a namespace: how it is opted in, and what it allows. */
export function namespaceValues(
  { name, labels, annotations }: Namespace,
  settings: InjectionSettings,
): string[] {
  const redirect = choice(`annotation ${KEYS.redirect}`, annotations[KEYS.redirect], REDIRECT_MODES)
  return [
    ...injectionLabel(labels[KEYS.injection]),
    ...choice(`label ${KEYS.hostNetwork}`, labels[KEYS.hostNetwork], [HOST_NETWORK_ALLOWED]),
    ...redirect,
    ...choice(
      `annotation ${KEYS.containerCredentials}`,
      annotations[KEYS.containerCredentials],
      CONTAINER_MODES,
    ),
    ...choice(
      `annotation ${KEYS.credentialSource}`,
      annotations[KEYS.credentialSource],
      namedSources(settings),
    ),
    ...allowLists(name, annotations, settings.policy),
    ...externalIds(annotations[KEYS.allowedExternalIds]),
    ...defaultRole(labels, annotations[KEYS.defaultRole], settings.policy),
  ]
}

function choice(what: string, value: string | undefined, values: readonly string[]): string[] {
  if (value === undefined || values.includes(value)) return []
  const lower = value.toLowerCase()
  const meant = values.find((one) => editDistance(lower, one, 2) <= (one.length < 6 ? 1 : 2))
  const list = values.map((one) => JSON.stringify(one)).join(' or ')
  return [
    `${what} must be ${list}, not ${quote(value)}${meant === undefined ? '' : `: did you mean "${meant}"?`}`,
  ]
}

function injectionLabel(value: string | undefined): string[] {
  if (value === undefined || injectionMode({ [KEYS.injection]: value }) !== undefined) return []
  const lower = value.toLowerCase()
  if (OPTED_OUT.has(lower)) return []
  const meant =
    lower === 'all' || lower === 'al'
      ? 'all'
      : OPTED_IN.has(lower) || editDistance(lower, 'enabled', 3) <= 3
        ? 'enabled'
        : undefined
  const question = meant === undefined ? '' : `: did you mean "${meant}"?`
  return [
    `label ${KEYS.injection} is ${quote(value)}, and only "enabled" and "all" opt a namespace in${question}`,
  ]
}

/** Checks each list separately with `judgeRole`: a list that it cannot parse allows nothing. */
function allowLists(name: string, annotations: Texts, policy: PolicySettings): string[] {
  if (!policy.restrictions) return []
  return [KEYS.allowedRoles, KEYS.permitted].flatMap((key) => {
    const text = annotations[key]
    if (text === undefined) return []
    const problem = whyNothingIsAllowed((role) =>
      judgeRole(role, { name, annotations: { [key]: text } }, { ...policy, permittedRoles: [] }),
    )
    return problem === undefined ? [] : [problem]
  })
}

/** Why a list allows no role at all, because it cannot be read. */
export function whyNothingIsAllowed(judge: (role: Role) => ReturnType<typeof judgeRole>): string | undefined {
  const any = parseRoleArn(`${ANY_BASE}any`)
  const judgement = any.ok ? judge(any.role) : any
  return !judgement.ok && judgement.detail.endsWith('so nothing is allowed') ? judgement.detail : undefined
}

function externalIds(text: string | undefined): string[] {
  if (text === undefined || parsePatterns(text) !== undefined) return []
  return [
    `annotation ${KEYS.allowedExternalIds} is not a JSON array of strings, so no external id is allowed`,
  ]
}

function defaultRole(labels: Texts, text: string | undefined, policy: PolicySettings): string[] {
  if (text === undefined) return []
  const role = resolveRole(text, policy.base ?? ANY_BASE)
  if (!role.ok) return [`annotation ${KEYS.defaultRole}: ${role.detail}`]
  return injectionMode(labels) === 'enabled'
    ? [
        `annotation ${KEYS.defaultRole} has an effect only where label ${KEYS.injection} is "all"; here it is "enabled"`,
      ]
    : []
}
