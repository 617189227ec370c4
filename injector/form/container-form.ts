/**
 * What makes a sidecar or gate ours: the form that every supported release gives it, whatever its settings. In each rolling
 * upgrade replicas with different settings or releases serve at the same time, so none may compare a container with what it would
 * write itself (docs/decisions/0099).
 *
 * A form says which variables and arguments an image of ours may get, with which values. Anything that this release does not know
 * but that has our own prefix comes from a later release: only a replica of that release writes it, because the mutating webhook
 * has seen every pod before and has corrected each container of ours (`patch/repair.ts`).
 */
import {
  BROKER_ADDRESSES,
  BROKER_PORT,
  CONTAINER_TOKEN_FILE,
  hostPort,
  SIDECAR_HEALTH_PORT,
  SIDECAR_PORT,
  STARTED_FILE,
  STATE_DIR,
  TOKEN_FILE,
  WEB_IDENTITY_TOKEN_FILE,
} from '../../common/addresses.ts'
import { CREDENTIAL_SOURCE_ENV } from '../../common/credential-source.ts'
import { IDENTITY_ENV } from '../../common/identity.ts'
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { LOG_LEVELS } from '../../common/log.ts'
import { quote } from '../../common/role.ts'
import { blank, isObject, type Json, type JsonObject, sameJson } from '../json.ts'
import { CONTAINER_TOKEN_FILE_ENV, START_HOOK } from '../patch/sidecar.ts'
import type { Container, EnvVar } from '../pod/pod.ts'
import type { Kind } from '../pod/reserved.ts'
import type { Start } from '../pod/stages.ts'
import { GATE_MODES, REDIRECT_MODES, type RedirectMode, TOKEN_MODES } from '../settings.ts'

/**
 * Fields that a container of ours may have: those that we set, and defaults of the API server. Any other field (`envFrom`,
 * `command`, probes, ports, …, and future ones of Kubernetes) could run something else than what image and args say, or change its
 * input. In the sidecar `lifecycle` is allowed as the start hook only ({@link hasStartHook}).
 */
const FIELDS = new Set([
  ...['name', 'image', 'imagePullPolicy', 'args', 'restartPolicy', 'env', 'volumeMounts'],
  ...['resources', 'resizePolicy', 'securityContext', 'terminationMessagePath', 'terminationMessagePolicy'],
])

type Legal = (value: string) => boolean

const one =
  (...values: readonly string[]): Legal =>
  (value) =>
    values.includes(value)
const BROKER_URLS = BROKER_ADDRESSES.map((address) => `http://${hostPort(address, BROKER_PORT)}`)
/** How the block may be proven, by the gate or the sidecar; no release writes `off`. */
const PROOFS = ['enforce', 'report'] as const
const NEVER: Legal = () => false
/** For variables and arguments of later releases: text that the kubelet does not expand. */
const PLAIN: Legal = (value) => value.length <= 4096 && !value.includes('$(')

/** Whether only we give a variable this name, as `identityEnv` and {@link FORMS} do. */
export const isOwnVariable = ({ name }: EnvVar): boolean => /^POD2IAM_[A-Z0-9_]{1,64}$/.test(name)

type Form = {
  /** The legal values of every variable that any release has written. */
  readonly env: Readonly<Record<string, Legal>>
  /** Variables without which the operator's bounds would not be enforced. */
  readonly needed: readonly string[]
  /** The same for pods that start in one stage; other pods may have none of these. */
  readonly oneStage: Pick<Form, 'env' | 'needed'>
  readonly restartPolicy: 'Always' | undefined
}

const FORMS: Readonly<Record<Kind, Form>> = {
  [SIDECAR_CONTAINER]: {
    env: {
      // Compared with the pod's annotations, see `identity-form.ts`.
      [IDENTITY_ENV.source]: PLAIN,
      [IDENTITY_ENV.role]: PLAIN,
      [IDENTITY_ENV.externalId]: PLAIN,
      [IDENTITY_ENV.sessionName]: PLAIN,
      [IDENTITY_ENV.sessionPolicies]: PLAIN,
      POD2IAM_BROKER_URL: (value) => value.split(',').every((url) => BROKER_URLS.includes(url)),
      POD2IAM_TOKEN_FILE: one(TOKEN_FILE),
      // Which of them, and with what, is judged by `final-pod.ts`.
      [CREDENTIAL_SOURCE_ENV]: one('web-identity'),
      POD2IAM_WEB_IDENTITY_TOKEN_FILE: one(WEB_IDENTITY_TOKEN_FILE),
      [CONTAINER_TOKEN_FILE_ENV]: one(CONTAINER_TOKEN_FILE),
      POD2IAM_LISTEN_PORT: one(String(SIDECAR_PORT)),
      POD2IAM_HEALTH_PORT: one(String(SIDECAR_HEALTH_PORT)),
      POD2IAM_IMDS_TOKENS: one(...TOKEN_MODES),
      POD2IAM_SELF_TEST: one('redirect', 'off'),
      POD2IAM_STATE_DIR: one(STATE_DIR),
      POD2IAM_STARTUP_GATE: one(...GATE_MODES),
      POD2IAM_LOG_LEVEL: one(...LOG_LEVELS),
    },
    needed: [IDENTITY_ENV.source, 'POD2IAM_IMDS_TOKENS', 'POD2IAM_SELF_TEST'],
    oneStage: {
      env: {
        POD2IAM_PROOF: one(...PROOFS),
        POD2IAM_ACCEPT_DROP: one('true'),
        POD2IAM_STARTED_FILE: one(STARTED_FILE),
      },
      needed: ['POD2IAM_PROOF', 'POD2IAM_STARTED_FILE'],
    },
    restartPolicy: 'Always',
  },
  [GATE_CONTAINER]: {
    env: { POD2IAM_RESTART_POLICY: one('Always', 'OnFailure', 'Never') },
    needed: [],
    oneStage: { env: {}, needed: [] },
    restartPolicy: undefined,
  },
}

/** Arguments of the gate that the injector writes; undefined for those without a value. */
const GATE_ARGUMENTS: Readonly<Record<string, Legal | undefined>> = {
  '--redirect': one(...REDIRECT_MODES),
  '--proof': one(...PROOFS),
  '--accept-drop': undefined,
  '--sidecar-port': one(String(SIDECAR_PORT)),
  '--broker-port': one(String(BROKER_PORT)),
  '--wait-ready': one(`http://127.0.0.1:${SIDECAR_HEALTH_PORT}/readyz`),
}
const NEEDED_ARGUMENTS = ['--redirect', '--proof', '--wait-ready']
/** Other arguments of this release's gate, which no injector writes: they could turn off the proof. */
const NEVER_WRITTEN_ARGUMENTS: readonly string[] = [
  ...['--proof-timeout', '--proof-interval', '--restart-policy', '--wait-timeout', '--log-level'],
  ...['--metadata-address', '--broker-address'],
]
/** The same as variables: where both are given the argument counts, but an argument may be missing. */
const GATE_VARIABLES = [...Object.keys(GATE_ARGUMENTS), ...NEVER_WRITTEN_ARGUMENTS].map(
  (name) => `POD2IAM_${name.slice(2).replaceAll('-', '_').toUpperCase()}`,
)

/** All settings of this release's programs that have a rule here; a test compares them with the programs' own. */
export const KNOWN: Readonly<Record<Kind, readonly string[]>> = {
  [SIDECAR_CONTAINER]: [FORMS[SIDECAR_CONTAINER], FORMS[SIDECAR_CONTAINER].oneStage].flatMap(({ env }) =>
    Object.keys(env),
  ),
  [GATE_CONTAINER]: GATE_VARIABLES,
}

/** The first part of a container that no release of ours writes, among its fields and arguments. */
export function foreignContent(kind: Kind, container: Container): string | undefined {
  const isKnown = (key: string) =>
    FIELDS.has(key) || (key === 'lifecycle' && kind === SIDECAR_CONTAINER && hasStartHook(container))
  const field = Object.keys(container).find((key) => !blank(container[key]) && !isKnown(key))
  if (field !== undefined) return quote(field)
  if (FORMS[kind].restartPolicy === undefined && !blank(container.restartPolicy)) return 'restartPolicy'
  return argumentsProblem(kind, container.args ?? [])
}

/** lifecycle, postStart, exec. */
const HOOK_DEPTH = 3

/** Whether a sidecar holds back the pod's own containers until it is ready: its `lifecycle` is exactly our start hook. */
export function hasStartHook({ lifecycle }: Container): boolean {
  return sameJson(withoutBlanks(lifecycle, HOOK_DEPTH), START_HOOK)
}

function withoutBlanks(value: Json | undefined, depth: number): Json | undefined {
  if (depth === 0 || !isObject(value)) return value
  const entries = Object.entries(value).map(([key, one]) => [key, withoutBlanks(one, depth - 1)] as const)
  return Object.fromEntries(entries.filter(([, one]) => !blank(one)))
}

function argumentsProblem(kind: Kind, args: readonly string[]): string | undefined {
  if (kind === SIDECAR_CONTAINER) return args.length === 0 ? undefined : 'args'
  const [command, ...flags] = args
  if (command !== 'redirect') return 'args'
  const given = flags.map((flag) => flag.split('=', 1)[0] ?? '')
  const missing = NEEDED_ARGUMENTS.some((name) => !given.includes(name))
  return missing || new Set(given).size < given.length || !flags.every(isGateArgument) ? 'args' : undefined
}

function isGateArgument(flag: string): boolean {
  const [, name, value] = /^(--[a-z][-a-z0-9]{0,62})(?:=(.*))?$/s.exec(flag) ?? []
  if (name === undefined) return false
  if (!Object.hasOwn(GATE_ARGUMENTS, name))
    return !NEVER_WRITTEN_ARGUMENTS.includes(name) && PLAIN(value ?? '')
  const legal = GATE_ARGUMENTS[name]
  return legal === undefined ? value === undefined : value !== undefined && legal(value)
}

/** The redirect mode of a gate. */
export function redirectOf({ args }: Container): RedirectMode | undefined {
  return REDIRECT_MODES.find((mode) => args?.includes(`--redirect=${mode}`))
}

/** The first variable that is missing, duplicated or not ours, or that has a value which no release writes. */
export function environmentProblem(
  kind: Kind,
  env: readonly EnvVar[],
  start: Start,
  isHarmless: (entry: EnvVar) => boolean,
): string | undefined {
  const { needed, oneStage } = FORMS[kind]
  const wanted = start === 'one-stage' ? [...needed, ...oneStage.needed] : needed
  const missing = wanted.find((name) => !env.some((entry) => entry.name === name))
  if (missing !== undefined) return `env ${missing} is missing`
  const names = new Set<string>()
  for (const entry of env) {
    if (!isOwnVariable(entry)) {
      if (isHarmless(entry)) continue
      return `env ${quote(entry.name)}`
    }
    const { name, value = '', ...others } = entry
    if (names.has(name)) return `env ${name} is there twice`
    if (!Object.values(others).every(blank) || !legalOf(kind, name, start)(value)) return `env ${name}`
    names.add(name)
  }
  return undefined
}

function legalOf(kind: Kind, name: string, start: Start): Legal {
  const { env, oneStage } = FORMS[kind]
  if (Object.hasOwn(env, name)) return env[name] ?? NEVER
  if (start === 'one-stage' && Object.hasOwn(oneStage.env, name)) return oneStage.env[name] ?? NEVER
  return KNOWN[kind].includes(name) ? NEVER : PLAIN
}

/** The first field in which a security context is less strict than ours. */
export function securityProblem(kind: Kind, context: unknown, redirect: RedirectMode): string | undefined {
  if (!isObject(context)) return 'securityContext is missing'
  const needsRoot = kind === GATE_CONTAINER && redirect === 'nft'
  const required: Record<string, boolean> = {
    privileged: blank(context.privileged),
    allowPrivilegeEscalation: context.allowPrivilegeEscalation === false,
    readOnlyRootFilesystem: context.readOnlyRootFilesystem === true,
    capabilities: hasOnly(context.capabilities, needsRoot ? ['NET_ADMIN'] : []),
    seccompProfile: isObject(context.seccompProfile) && context.seccompProfile.type !== 'Unconfined',
    runAsNonRoot: needsRoot || context.runAsNonRoot === true,
    runAsUser: needsRoot ? context.runAsUser === 0 : isUser(context.runAsUser),
  }
  const lax = Object.keys(required).find((key) => !required[key])
  if (lax !== undefined) return `securityContext ${lax}`
  const known = new Set([...Object.keys(required), 'runAsGroup'])
  const extra = Object.keys(context).find((key) => !known.has(key) && !isStricter(key, context[key]))
  return extra === undefined ? undefined : `securityContext ${quote(extra)}`
}

/** Whether a field that other tools set in every container only removes rights. */
export function isStricter(key: string, value: JsonObject[string]): boolean {
  if (blank(value)) return true
  if (key === 'procMount') return value === 'Default'
  // OpenShift gives each namespace its own level; a type could be one that SELinux does not confine.
  if (key === 'seLinuxOptions') return isObject(value) && Object.keys(value).every((part) => part === 'level')
  return key === 'appArmorProfile' && isObject(value) && value.type === 'RuntimeDefault'
}

function hasOnly(capabilities: JsonObject[string], added: readonly string[]): boolean {
  if (!isObject(capabilities)) return false
  const { drop, add } = capabilities
  const adds = Array.isArray(add) ? add : []
  return (
    Array.isArray(drop) &&
    drop.includes('ALL') &&
    (blank(add) || Array.isArray(add)) &&
    adds.length === added.length &&
    added.every((name) => adds.includes(name))
  )
}

const isUser = (value: JsonObject[string]) => typeof value === 'number' && value > 0
