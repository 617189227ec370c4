/** The environment of a container of ours, as any release writes it. */
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
import { blank } from '../json.ts'
import type { EnvVar } from '../pod/pod.ts'
import type { Kind } from '../pod/reserved.ts'
import type { Start } from '../pod/stages.ts'
import { GATE_MODES, TOKEN_MODES } from '../settings.ts'
import { GATE_VARIABLES } from './gate-arguments.ts'
import { type IsLegal, one, PLAIN, PROOFS } from './legal-values.ts'

/** Variable of the sidecar in pods with container credentials. */
export const CONTAINER_TOKEN_FILE_ENV = 'POD2IAM_CONTAINER_TOKEN_FILE'

const BROKER_URLS = BROKER_ADDRESSES.map((address) => `http://${hostPort(address, BROKER_PORT)}`)
const NEVER: IsLegal = () => false

/** Whether only we give a variable this name, as `identityEnv` and {@link FORMS} do. */
export const isOwnVariable = ({ name }: EnvVar): boolean => /^POD2IAM_[A-Z0-9_]{1,64}$/.test(name)

type Form = {
  /** The legal values of every variable that any release has written. */
  readonly env: Readonly<Record<string, IsLegal>>
  /** Variables without which the operator's bounds would not be enforced. */
  readonly needed: readonly string[]
  /** Further variables of pods that start in one stage; other pods may have none of these. */
  readonly oneStage: Pick<Form, 'env' | 'needed'>
}

const FORMS: Readonly<Record<Kind, Form>> = {
  [SIDECAR_CONTAINER]: {
    env: {
      // Compared with the pod's annotations, see `final-pod.ts`.
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
  },
  [GATE_CONTAINER]: {
    env: { POD2IAM_RESTART_POLICY: one('Always', 'OnFailure', 'Never') },
    needed: [],
    oneStage: { env: {}, needed: [] },
  },
}

/** All settings of this release's programs that have a rule here; a test compares them with the programs' own. */
export const KNOWN: Readonly<Record<Kind, readonly string[]>> = {
  [SIDECAR_CONTAINER]: [FORMS[SIDECAR_CONTAINER], FORMS[SIDECAR_CONTAINER].oneStage].flatMap(({ env }) =>
    Object.keys(env),
  ),
  [GATE_CONTAINER]: GATE_VARIABLES,
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

function legalOf(kind: Kind, name: string, start: Start): IsLegal {
  const { env, oneStage } = FORMS[kind]
  if (Object.hasOwn(env, name)) return env[name] ?? NEVER
  if (start === 'one-stage' && Object.hasOwn(oneStage.env, name)) return oneStage.env[name] ?? NEVER
  return KNOWN[kind].includes(name) ? NEVER : PLAIN
}
