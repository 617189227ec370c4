/** What runs during the whole test: clients that ask for credentials, and on every node a prober at the metadata endpoint. */

import { OTHER_KEY } from '../injector/injected-settings.ts'
import { ask, type LivePod, readyPods, refOf } from './cluster-pods.ts'
import type { Context } from './context.ts'
import { replicated } from './pods.ts'
import type { ClientState, ProberState } from './programs/reports.ts'
import { expect, until } from './promise.ts'

export const CLIENT = { place: 'shop', app: 'client' } as const
export const PROBER = { place: 'plain', app: 'prober' } as const
const MAX_CLIENTS = 3
/** Number of probes on each node after which the test believes that the endpoint is closed. */
const PROBES = 20

/** Starts the probers and waits until each has tried the endpoint a few times. */
export async function startProbers(context: Context): Promise<void> {
  const spec = { tolerations: [{ operator: 'Exists' }] }
  const object = replicated(context.run, 'DaemonSet', { ...PROBER, mode: 'prober', spec })
  await context.access.kube.create(object)
  await until(context, 'probes on every node', async () =>
    [...(await probers(context)).values()].every(({ attempts }) => attempts >= PROBES),
  )
}

/** Starts the clients, with both keys that name the role in the course of the test; returns their number. */
export async function startClients(context: Context): Promise<number> {
  const { access, run, aws } = context
  const { items: nodes } = await access.kube.list('nodes')
  const count = Math.min(nodes.length, MAX_CLIENTS)
  await access.kube.create(
    replicated(
      run,
      'Deployment',
      { ...CLIENT, mode: 'client', role: aws.role, annotations: { [OTHER_KEY]: aws.role } },
      count,
    ),
  )
  return (await readyPods(context, CLIENT.place, CLIENT.app, count)).length
}

/** Counts of all pods of an app by pod name, once each pod has written some. */
function states<T>(context: Context, { place, app }: typeof CLIENT | typeof PROBER) {
  const counts = async (pod: LivePod): Promise<[string, T]> => [
    pod.metadata.name ?? '',
    JSON.parse(await ask(context, refOf(pod), ['state'])),
  ]
  // Pods are listed at every attempt, because a pod that was replaced will never answer.
  return until(
    context,
    `counts of ${app}`,
    async () => new Map(await Promise.all((await readyPods(context, place, app)).map(counts))),
  )
}

export const probers = (context: Context) => states<ProberState>(context, PROBER)
export const clients = (context: Context) => states<ClientState>(context, CLIENT)

export type Probers = Awaited<ReturnType<typeof probers>>
type Clients = Awaited<ReturnType<typeof clients>>

/**
 * Checks that no connection got through since then, on any node, while probers tried.
 *
 * @param before of {@link probers}; a prober that is new since then counts from its start
 */
export async function expectClosed(context: Context, before: Probers): Promise<string> {
  const after = await until(context, 'probes on every node', async () => {
    const now = await probers(context)
    const grown = [...now].every(
      ([name, { attempts }]) => attempts >= (before.get(name)?.attempts ?? 0) + PROBES,
    )
    return grown && now
  })
  const since = (key: 'attempts' | 'opened' | 'refused' | 'silent') =>
    [...after].reduce((sum, [name, state]) => sum + state[key] - (before.get(name)?.[key] ?? 0), 0)
  const openings = [...after.values()].map(({ lastOpening }) => lastOpening).filter((text) => text !== '')
  expect(
    since('opened') === 0,
    `a pod without a role reached the metadata endpoint ${since('opened')} times in ${since('attempts')} attempts; last: ${openings.join(', ')}`,
  )
  const dropped = since('silent') > 0 ? `, ${since('silent')} dropped` : ''
  return `${since('attempts')} attempts on ${after.size} node(s), ${since('refused')} refused${dropped}`
}

/** Checks that every request of every client since then was answered with credentials. */
export async function expectServed(context: Context, before: Clients): Promise<string> {
  const after = await until(context, 'requests of every client', async () => {
    const now = await clients(context)
    return [...now].every(([name, { requests }]) => requests > (before.get(name)?.requests ?? 0)) && now
  })
  let requests = 0
  for (const [name, state] of after) {
    const { requests: earlier = 0, failures = 0 } = before.get(name) ?? {}
    requests += state.requests - earlier
    const failed = state.failures - failures
    expect(failed === 0, `${failed} requests of ${name} failed; the last at ${state.lastFailure}`)
  }
  return `${requests} requests, 0 failed`
}
