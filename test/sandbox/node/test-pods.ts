/** Pods for the tests of the node: small shell scripts as images. */

import { until } from '../../support/until.ts'
import type { Sandbox } from '../index.ts'
import type { Container, Lifecycle, Pod, PodSpec } from './pod.ts'
import type { TimelineEvent } from './timeline.ts'

/** `args: [script]` is run by a shell. */
export const IMAGES = {
  sh: { command: ['/bin/sh', '-c'] },
  node: { command: [process.execPath, '-e'] },
} as const

/** A container that runs a shell script. */
export function sh(name: string, script: string, rest: Partial<Container> = {}): Container {
  return { name, image: 'sh', args: [script], ...rest }
}

/** A script that runs until SIGTERM, which it reports and obeys; see {@link up}. */
export function untilTerm(first = ':'): string {
  return `trap 'echo terminated; exit 0' TERM\n${first}\necho up\nwhile :; do sleep 0.02; done`
}

/** Waits until containers that run {@link untilTerm} have their handler, because PID 1 ignores SIGTERM without one. */
export async function up(sandbox: Sandbox, key: string, ...containers: string[]): Promise<void> {
  await Promise.all(containers.map((name) => sandbox.pods.waitForLog(key, name, /^up$/m)))
}

/** A postStart hook that runs a shell script. */
export function hook(script: string): { readonly lifecycle: Lifecycle } {
  return { lifecycle: { postStart: { exec: { command: ['/bin/sh', '-c', script] } } } }
}

/** The script of a hook that waits for a file in /dev/shm, which a test creates with {@link releaseHook}. */
export function waitsFor(name: string): string {
  return `until [ -e /dev/shm/${name} ]; do sleep 0.02; done`
}

export async function releaseHook(
  sandbox: Sandbox,
  key: string,
  container: string,
  name: string,
): Promise<void> {
  await sandbox.pods.exec(key, ['touch', `/dev/shm/${name}`], { container })
}

/** Waits until the hook of a container that runs {@link untilTerm} runs, for the `times`-th time. */
export async function inHook(sandbox: Sandbox, key: string, container: string, times = 1): Promise<void> {
  await up(sandbox, key, container)
  const begun = () => story(sandbox, key, 'hook-started').filter((line) => line.endsWith(` ${container}`))
  await until(`the hook of ${container} in ${key} runs`, () => begun().length >= times)
}

/** `event container exitCode` of every event of these kinds. */
export function story(sandbox: Sandbox, key: string, ...events: TimelineEvent['event'][]): string[] {
  return sandbox.pods
    .timeline(key)
    .filter(({ event }) => events.includes(event))
    .map(({ event, container, exitCode }) => [event, container, exitCode].filter(isGiven).join(' '))
}

function isGiven(value: unknown): boolean {
  return value !== undefined
}

export function pod(name: string, spec: PodSpec, metadata: Partial<Pod['metadata']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'default', ...metadata, name },
    spec: { terminationGracePeriodSeconds: 1, ...spec },
  }
}

/** Creates a pod and returns its name. */
export async function apply(sandbox: Sandbox, object: Pod): Promise<string> {
  await sandbox.kube.create(object)
  return `${object.metadata.namespace}/${object.metadata.name}`
}

/** Runs one container to its end and returns what it printed. */
export async function outputOf(
  sandbox: Sandbox,
  name: string,
  script: string,
  options: {
    container?: Partial<Container>
    spec?: Partial<PodSpec>
    metadata?: Partial<Pod['metadata']>
  } = {},
): Promise<string> {
  const containers = [sh('app', script, options.container)]
  const spec: PodSpec = { restartPolicy: 'Never', containers, ...options.spec }
  const key = await apply(sandbox, pod(name, spec, options.metadata))
  const ended = await sandbox.pods.waitFor(key, (found) =>
    /Succeeded|Failed/.test(found?.status?.phase ?? ''),
  )
  const output = sandbox.pods.logs(key)
  if (ended?.status?.phase !== 'Succeeded') throw new Error(`pod ${name} failed: ${output}`)
  return output
}
