/**
 * Upper bounds on the size of a pod that is judged. The cost of judging grows with these numbers, and so does the answer: in mode
 * `env` every container gets an operation. All are far above those of real pods; Kubernetes itself bounds only the annotations.
 */
import { KEYS } from '../../common/keys.ts'
import { ENDPOINT_ENV } from './endpoint.ts'
import type { Container, Pod } from './pod.ts'
import { isOurs, isReserved } from './reserved.ts'
import type { Obstacle } from './unsupported.ts'

const MAX = {
  /** Of all three kinds together. A whole node runs 110 pods by default, with four or five containers each. */
  containers: 500,
  /** Each is a mount on the node, and the kubelet takes seconds for a hundred. */
  volumes: 1_000,
  /** Of all containers. Linux gives a program at most 2 MiB of arguments and environment: 64 bytes for each of these. */
  env: 32_768,
  /** Of all containers; the kubelet mounts each one. */
  volumeMounts: 10_000,
  /** Of all containers. Media servers list the 10,001 ports of their RTP range. */
  ports: 12_000,
  /** Kubernetes allows 256 KiB in all: 128 bytes each. */
  annotations: 2_000,
  labels: 1_000,
  nodeSelector: 1_000,
} as const
/** Kubernetes' own bound (`TotalAnnotationSizeLimitB`), which it checks only after all webhooks. */
const MAX_ANNOTATION_BYTES = 256 * 1024

/**
 * The obstacle if the pod exceeds one of these bounds: the first one. What the injector itself adds does not count: a pod that was admitted must not be
 * refused when it is reviewed again.
 */
export function exceededBound(pod: Pod): Obstacle | undefined {
  const { metadata, spec } = pod
  const containers = [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])]
  const theirs = containers.filter((one) => !isOurs(one))
  const inAll = (list: (container: Container) => number) => theirs.reduce((sum, one) => sum + list(one), 0)
  const annotations = Object.entries(metadata?.annotations ?? {})
  const counts: Readonly<Record<keyof typeof MAX, number>> = {
    containers: theirs.length,
    volumes: (spec.volumes ?? []).filter((one) => !isReserved(one)).length,
    env: inAll(({ env }) => (env ?? []).filter(({ name }) => name !== ENDPOINT_ENV).length),
    volumeMounts: inAll(({ volumeMounts }) => volumeMounts?.length ?? 0),
    ports: inAll(({ ports }) => ports?.length ?? 0),
    annotations: annotations.filter(([key]) => key !== KEYS.status).length,
    labels: Object.keys(metadata?.labels ?? {}).filter((key) => key !== KEYS.injected).length,
    nodeSelector: Object.keys(spec.nodeSelector ?? {}).length,
  }
  for (const [what, count] of Object.entries(counts)) {
    const max = MAX[what as keyof typeof MAX]
    if (count > max) return tooLarge(`has ${count} ${NAMES[what as keyof typeof MAX]}, more than ${max}`)
  }
  const bytes = annotations.reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  )
  return bytes > MAX_ANNOTATION_BYTES
    ? tooLarge('has more than 256 KiB of annotations, as Kubernetes allows')
    : undefined
}

const NAMES: Readonly<Record<keyof typeof MAX, string>> = {
  containers: 'containers',
  volumes: 'volumes',
  env: 'environment variables',
  volumeMounts: 'volume mounts',
  ports: 'ports',
  annotations: 'annotations',
  labels: 'labels',
  nodeSelector: 'labels in its nodeSelector',
}

function tooLarge(detail: string): Obstacle {
  return { reason: 'pod-too-large', detail }
}
