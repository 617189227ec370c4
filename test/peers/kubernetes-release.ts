/**
 * Which Kubernetes the tests use that need a real one: the newest, or the oldest minor version that the chart admits
 * (`test/peers/kubernetes`), as POD2IAM_KUBERNETES says.
 */
import { spawnSync } from 'node:child_process'

/** By their directories in test/peers/kubernetes. */
const RELEASES = ['newest', 'oldest'] as const
export type KubernetesRelease = (typeof RELEASES)[number]

/** Programs of which both releases have their own. */
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

/** Where a program is, below the directory of the peers, when it may come from nowhere else: no release is mixed with another. */
export function releaseDirectory(command: string): string | undefined {
  return kubernetesRelease() === 'oldest' && PROGRAMS.includes(command) ? 'kubernetes-oldest' : undefined
}

/** The version of a program of Kubernetes as it says it, without `v`. @throws Error when it says none */
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
