/** Another replica of the injector, read from its pod: its settings, and how it judges what other replicas wrote. */
import { messageOf } from '../../common/errors.ts'
import { ADMISSION_FORMAT } from '../../common/keys.ts'
import { parseSettings } from '../../common/settings.ts'
import { type InjectionSettings, injectionSettings } from '../injection-settings.ts'
import { isObject, objectOf, objectsOf } from '../json.ts'
import { INJECTION_SPEC } from '../settings.ts'

/** `strict`: accepts only exactly what it would write itself, as release 0.1.0 does. `unreadable`: its settings are not known. */
export type PeerKind = 'same' | 'other-settings' | 'strict' | 'unreadable'

export type Peer = {
  readonly uid: string
  readonly name: string
  readonly hasEnded: boolean
  readonly isTerminating: boolean
  /** RFC 3339 as the API server writes it: the order of the texts is the order of the times. */
  readonly createdAt: string
  readonly isStrict: boolean
  /** Its injector's image, by which people recognise the release. */
  readonly image: string
  readonly settings: InjectionSettings | { readonly problem: string }
}

/** What was not configurable in release 0.1.0: the life of the sidecar's token, and the gate in every pod. */
const STRICT = { tokenExpirationSeconds: 3600, start: 'two-stage' } as const
const CONTAINER = 'injector'

/** Reads a pod; undefined if the object is not one. Never throws. */
export function readPeer(object: unknown): Peer | undefined {
  const { metadata, spec, status } = objectOf(object)
  if (!isObject(metadata) || typeof metadata.name !== 'string' || typeof metadata.uid !== 'string')
    return undefined
  const { phase } = objectOf(status)
  const isStrict = objectOf(metadata.annotations)[ADMISSION_FORMAT] === undefined
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
  return objectsOf(objectOf(spec).containers).find(({ name }) => name === CONTAINER)
}

function settingsOf(container: Container | undefined, isStrict: boolean): Peer['settings'] {
  if (container === undefined) return { problem: `it has no container ${CONTAINER}` }
  try {
    const env = environmentOf(container.env)
    const argv = textsOf(container.args).map((text) => expanded(text, env))
    const parsed = parseSettings(INJECTION_SPEC, { argv, env, unknownFlags: 'ignored' })
    if (!parsed.ok) return { problem: parsed.errors.join(' ') }
    const settings = injectionSettings(parsed.settings)
    return isStrict ? { ...settings, ...STRICT } : settings
  } catch (error) {
    return { problem: messageOf(error) }
  }
}

const textsOf = (value: unknown): string[] =>
  (Array.isArray(value) ? value : []).filter((one): one is string => typeof one === 'string')

/** The variables with a value in the pod. The injector may not read ConfigMaps and Secrets, so values from these are not known. */
function environmentOf(value: unknown): Record<string, string> {
  const entries = objectsOf(value).flatMap(({ name, value, valueFrom }): [string, string][] =>
    typeof name === 'string' && valueFrom === undefined ? [[name, String(value ?? '')]] : [],
  )
  return Object.fromEntries(entries)
}

/** Replaces `$(NAME)` as the kubelet does; an unknown name stays, and `$$(NAME)` becomes `$(NAME)`. */
function expanded(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)/g, (all, name?: string) =>
    name === undefined ? '$' : (env[name] ?? all),
  )
}
