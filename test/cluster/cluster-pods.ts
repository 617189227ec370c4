/** Finding pods, waiting for them, and asking in them. */

import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import type { Pod } from '../sandbox/node/pod.ts'
import { describePod, isReady } from '../sandbox/node/pod-predicates.ts'
import type { PodRef } from './access/access.ts'
import { type Context, namespaceOf, type Place } from './context.ts'
import { PROGRAM_VARIABLE } from './pods.ts'
import { until } from './promise.ts'

export type LivePod = KubeObject & Pod

export function refOf({ metadata }: LivePod): PodRef {
  return { namespace: metadata.namespace ?? '', name: metadata.name ?? '' }
}

/** Pods with a label selector, without those that are being deleted. */
export async function podsOf(
  { access }: Pick<Context, 'access'>,
  namespace: string,
  labelSelector: string,
): Promise<LivePod[]> {
  const { items } = await access.kube.list<LivePod>('pods', { namespace, labelSelector })
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
}

/** Waits until there are pods of an app and all of them are ready; the error says what the first unready pod waits for. */
export function readyPods(context: Context, place: Place, app: string, least = 1): Promise<LivePod[]> {
  const namespace = namespaceOf(context.run, place)
  return until(context, `a ready pod of ${app}`, async () => {
    const pods = await podsOf(context, namespace, `app=${app}`)
    const unready = pods.find((pod) => !isReady(pod))
    if (unready !== undefined) throw new Error(await whyNot(context, unready))
    return pods.length >= least && pods
  })
}

/** The same for an app of one pod. */
export async function readyPod(context: Context, place: Place, app: string): Promise<LivePod> {
  const [pod] = await readyPods(context, place, app)
  if (pod === undefined) throw new Error(`no pod of ${app}`)
  return pod
}

/** Waits until a pod of an app has ended; returns it. */
export function endedPod(context: Context, place: Place, app: string): Promise<LivePod> {
  const namespace = namespaceOf(context.run, place)
  return until(context, `the end of ${app}'s pod`, async () => {
    const [pod] = await podsOf(context, namespace, `app=${app}`)
    if (pod === undefined) return undefined
    if (['Succeeded', 'Failed'].includes(pod.status?.phase ?? '')) return pod
    throw new Error(await whyNot(context, pod))
  })
}

/** How often a pod's containers, native sidecars included, were restarted. */
export function restarts({ status }: LivePod): number {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  return all.reduce((sum, { restartCount }) => sum + restartCount, 0)
}

/** What a container left as its termination message, when it has ended. */
export function terminationMessage({ status }: LivePod, name: string): string | undefined {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  const state = all.find((container) => container.name === name)?.state
  return state !== undefined && 'terminated' in state ? state.terminated?.message : undefined
}

/**
 * Runs one of the modes of programs/pod.ts in a container that has the program.
 *
 * @param input its standard input, for what must not be in the API server's audit log, which has the command line
 * @throws Error with its output when it fails
 */
export async function ask(
  { access, run }: Pick<Context, 'access' | 'run'>,
  pod: PodRef,
  words: readonly string[],
  input?: string,
): Promise<string> {
  const argv = [run.node, '-e', `eval(process.env.${PROGRAM_VARIABLE})`, ...words]
  const { code, stdout, stderr } = await access.exec(pod, 'app', argv, input)
  if (code !== 0)
    throw new Error(`${words[0]} in ${pod.namespace}/${pod.name} ended with ${code}: ${stderr.trim()}`)
  return stdout
}

async function whyNot({ access }: Context, pod: LivePod): Promise<string> {
  const { namespace, name } = refOf(pod)
  type Event = KubeObject & { reason?: string; message?: string; involvedObject?: { name?: string } }
  const { items } = await access.kube.list<Event>('events', { namespace })
  const events = items.filter(({ involvedObject }) => involvedObject?.name === name).slice(-3)
  const lines = events.map(({ reason, message }) => `${reason}: ${message}`)
  return [`${namespace}/${name}:`, describePod(pod), ...lines].join('\n')
}
