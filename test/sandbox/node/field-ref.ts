/** The downward API: fields of a pod as text, for environment variables and files. */
import { ContainerConfigError } from './errors.ts'
import type { Pod } from './pod.ts'

/** Fields that the kubelet knows before the pod's status has them. */
export type PodAddressing = {
  readonly podIPs: readonly string[]
  readonly hostIPs: readonly string[]
}

/**
 * @param path as in `fieldRef.fieldPath`
 * @throws ContainerConfigError for a path that fieldRef does not know
 */
export function fieldValue(pod: Pod, path: string, addressing: PodAddressing): string {
  const subscript = /^metadata\.(annotations|labels)\['(.*)'\]$/.exec(path)
  if (subscript !== null) {
    const [, map, key = ''] = subscript
    return (map === 'labels' ? pod.metadata.labels : pod.metadata.annotations)?.[key] ?? ''
  }
  const read = FIELDS[path]
  if (read === undefined) throw new ContainerConfigError(`unsupported fieldPath: ${path}`)
  return read(pod, addressing)
}

const FIELDS: Readonly<Record<string, (pod: Pod, addressing: PodAddressing) => string>> = {
  'metadata.name': (pod) => pod.metadata.name,
  'metadata.namespace': (pod) => pod.metadata.namespace ?? '',
  'metadata.uid': (pod) => pod.metadata.uid ?? '',
  // Whole maps: only in files of the downward API, one key="value" per line.
  'metadata.labels': (pod) => formatMap(pod.metadata.labels),
  'metadata.annotations': (pod) => formatMap(pod.metadata.annotations),
  'spec.nodeName': (pod) => pod.spec.nodeName ?? '',
  'spec.serviceAccountName': (pod) => pod.spec.serviceAccountName ?? 'default',
  'status.podIP': (_, { podIPs }) => podIPs[0] ?? '',
  'status.podIPs': (_, { podIPs }) => podIPs.join(','),
  'status.hostIP': (_, { hostIPs }) => hostIPs[0] ?? '',
  'status.hostIPs': (_, { hostIPs }) => hostIPs.join(','),
}

function formatMap(map: Readonly<Record<string, string>> = {}): string {
  return Object.entries(map)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n')
}
