/** Another replica of the injector, as its pod tells it: with which settings it writes, and how it judges what others wrote. */
import { messageOf } from '../../common/errors.ts'
import { ADMISSION_FORMAT } from '../../common/keys.ts'
import { parseSettings } from '../../common/settings.ts'
import { INJECTION_SPEC, type InjectionSettings, injectionSettings } from '../injection-settings.ts'
import { isObject } from '../json.ts'

/** `strict`: judges to the letter, as release 0.1.0 does. `unreadable`: its settings are not known. */
export const PEER_KINDS = ['same', 'other-settings', 'strict', 'unreadable'] as const
export type PeerKind = (typeof PEER_KINDS)[number]

export type Peer = {
  readonly uid: string
  readonly name: string
  readonly hasEnded: boolean
  readonly isTerminating: boolean
  /** RFC 3339, as the API server writes it: texts in the order of time. */
  readonly createdAt: string
  readonly isStrict: boolean
  /** Its injector's image: for people, who know the release by it. */
  readonly image: string
  readonly settings: InjectionSettings | { readonly problem: string }
}

/** What release 0.1.0 had no settings for: the life of sidecars' tokens, and that every pod has a gate. */
const STRICT = { tokenExpirationSeconds: 3600, start: 'two-stage' } as const
const CONTAINER = 'injector'

/** Reads a pod; undefined where it is none. Never throws. */
export function readPeer(object: unknown): Peer | undefined {
  const { metadata, spec, status } = isObject(object) ? object : {}
  if (!isObject(metadata) || typeof metadata.name !== 'string' || typeof metadata.uid !== 'string')
    return undefined
  const annotations = isObject(metadata.annotations) ? metadata.annotations : {}
  const phase = isObject(status) ? status.phase : undefined
  const isStrict = annotations[ADMISSION_FORMAT] === undefined
  const container = containerOf(spec)
  return {
    uid: metadata.uid,
    name: metadata.name,
    hasEnded: phase === 'Succeeded' || phase === 'Failed',
    isTerminating: typeof metadata.deletionTimestamp === 'string',
    createdAt: String(metadata.creationTimestamp ?? ''),
    isStrict,
    image: typeof container?.image === 'string' ? container.image : '',
    settings: settingsOf(container, isStrict),
  }
}

type Container = Readonly<Record<string, unknown>>

function containerOf(spec: unknown): Container | undefined {
  const containers = isObject(spec) && Array.isArray(spec.containers) ? spec.containers : []
  return containers.find((one): one is Container & object => isObject(one) && one.name === CONTAINER)
}

function settingsOf(container: Container | undefined, isStrict: boolean): Peer['settings'] {
  if (container === undefined) return { problem: `it has no container ${CONTAINER}` }
  try {
    const env = environmentOf(container.env)
    const argv = textsOf(container.args).map((text) => expanded(text, env))
    const parsed = parseSettings(INJECTION_SPEC, { argv, env, strangers: 'ignored' })
    if (!parsed.ok) return { problem: parsed.errors.join(' ') }
    const settings = injectionSettings(parsed.settings)
    return isStrict ? { ...settings, ...STRICT } : settings
  } catch (error) {
    return { problem: messageOf(error) }
  }
}

const textsOf = (value: unknown): string[] =>
  (Array.isArray(value) ? value : []).filter((one): one is string => typeof one === 'string')

/** Variables that stand in the pod. What comes from a ConfigMap or a Secret is not known: the injector may not read those. */
function environmentOf(value: unknown): Record<string, string> {
  const entries = (Array.isArray(value) ? value : []).flatMap((one): [string, string][] =>
    isObject(one) && typeof one.name === 'string' && one.valueFrom === undefined
      ? [[one.name, String(one.value ?? '')]]
      : [],
  )
  return Object.fromEntries(entries)
}

/** `$(NAME)` as the kubelet replaces it; `$$(NAME)` stands for itself, and so does what is not known. */
function expanded(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)/g, (all, name?: string) =>
    name === undefined ? '$' : (env[name] ?? all),
  )
}
