/** What the injector added to a pod, in a form that fits a screen. */
import { stringify } from 'yaml'

type Named = { readonly name: string }
type PodLike = {
  readonly metadata: {
    readonly annotations?: Readonly<Record<string, string>>
    readonly labels?: Readonly<Record<string, string>>
  }
  readonly spec: { readonly initContainers?: readonly Named[]; readonly volumes?: readonly Named[] }
}

/**
 * What the injector added to a pod, as YAML lines that begin with `+`: for a container, only the most important fields, one in each
 * line. What the API server and controllers add to every pod is not shown.
 */
export function additions(pod: PodLike): string {
  const { metadata, spec } = pod
  return [
    'metadata:',
    '  annotations:',
    ...ourKeys(metadata.annotations),
    '  labels:',
    ...ourKeys(metadata.labels),
    'spec:',
    '  initContainers:',
    ...ours(spec.initContainers).flatMap((container) => fields(container, SHOWN)),
    '  volumes:',
    ...ours(spec.volumes).flatMap((volume) => fields(volume, Object.keys(volume))),
  ]
    .map((line) => `+ ${line}`)
    .join('\n')
}

const SHOWN = ['name', 'image', 'restartPolicy', 'args', 'securityContext', 'resources', 'volumeMounts']

function ours<T extends Named>(entries: readonly T[] = []): readonly T[] {
  return entries.filter(({ name }) => name.startsWith('pod2iam-'))
}

function ourKeys(map: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(map)
    .filter(([key]) => key.startsWith('pod2iam.dev/'))
    .map(([key, value]) => `    ${key}: ${flow(value)}`)
}

function fields(entry: Named, keys: readonly string[]): string[] {
  const map = new Map<string, unknown>(Object.entries(entry))
  return keys
    .map((key) => [key, shown(key, map.get(key))] as const)
    .filter(([, value]) => value !== undefined)
    .map(([key, value], i) => `    ${i === 0 ? '- ' : '  '}${key}: ${flow(value)}`)
}

/** Only our own mounts, if there are any. */
function shown(key: string, value: unknown): unknown {
  if (key !== 'volumeMounts' || !Array.isArray(value)) return value
  const names = ours(value).map(({ name }) => name)
  return names.length > 0 ? names : undefined
}

function flow(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0, flowCollectionPadding: true }).trim()
}
