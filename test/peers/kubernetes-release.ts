/**
 * The Kubernetes release for tests that need a real one: the newest, or the oldest minor version that the chart allows
 * (`test/peers/kubernetes`), as set by POD2IAM_KUBERNETES.
 */
import { spawnSync } from 'node:child_process'

/** The names of their directories in test/peers/kubernetes. */
const RELEASES = ['newest', 'oldest'] as const
export type KubernetesRelease = (typeof RELEASES)[number]

/** Programs that each release has its own version of. */
const PROGRAMS: readonly string[] = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kube-proxy',
  'kubelet',
  'kubectl',
]

/** @throws Error with a sentence when POD2IAM_KUBERNETES is neither */
export function kubernetesRelease(): KubernetesRelease {
  const wanted = process.env.POD2IAM_KUBERNETES || 'newest'
  const release = RELEASES.find((name) => name === wanted)
  if (release === undefined)
    throw new Error(`POD2IAM_KUBERNETES is ${JSON.stringify(wanted)}; it can be ${RELEASES.join(' or ')}`)
  return release
}

/** The directory, below that of the peers, which a program must come from, so that no release is mixed with another. */
export function releaseDirectory(command: string): string | undefined {
  return kubernetesRelease() === 'oldest' && PROGRAMS.includes(command) ? 'kubernetes-oldest' : undefined
}

/** The version of a program of Kubernetes from its output, without `v`. @throws Error when there is none */
export function versionOf(path: string): string {
  const { stdout, stderr } = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 90_000 })
  const [, version] = /^Kubernetes v(\d+\.\d+\.\d+)/m.exec(stdout ?? '') ?? []
  if (version === undefined) throw new Error(`${path} does not say which Kubernetes it is: ${stderr}`)
  return version
}

/** 29 of 1.29.15. */
export function minorOf(version: string): number {
  return Number(version.split('.')[1])
}
