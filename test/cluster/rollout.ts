/** Waits until the product's two workloads are as their specs say. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import type { Context } from './context.ts'
import { until } from './promise.ts'

type World = Pick<Context, 'access' | 'options' | 'signal'>
type Status = Readonly<Record<string, number | undefined>>
type Workload = KubeObject & { readonly spec: { readonly replicas?: number }; readonly status?: Status }

export const GUARD = 'pod2iam-node-guard'
export const INJECTOR = 'pod2iam-injector'

/** Waits until every node has the current guard and it is ready. Returns their number. */
export function guardsReady(world: World): Promise<number> {
  return until(world, `every pod of ${GUARD}`, async () => {
    const { status = {}, metadata } = await get(world, 'daemonsets', GUARD)
    const { observedGeneration, desiredNumberScheduled = 0, updatedNumberScheduled, numberReady } = status
    const current = observedGeneration === metadata.generation && desiredNumberScheduled > 0
    const done = updatedNumberScheduled === desiredNumberScheduled && numberReady === desiredNumberScheduled
    if (current && done) return desiredNumberScheduled
    throw new Error(
      `${numberReady ?? 0} of ${desiredNumberScheduled} are ready, ${updatedNumberScheduled ?? 0} new`,
    )
  })
}

/** Waits until every replica of the injector is the current one and ready. Returns their number. */
export function injectorReady(world: World): Promise<number> {
  return until(world, `every pod of ${INJECTOR}`, async () => {
    const { spec, status = {}, metadata } = await get(world, 'deployments', INJECTOR)
    const { observedGeneration, replicas = 0, updatedReplicas = 0, readyReplicas = 0 } = status
    const wanted = spec.replicas ?? 1
    const current = observedGeneration === metadata.generation
    if (current && [replicas, updatedReplicas, readyReplicas].every((count) => count === wanted))
      return wanted
    throw new Error(`${readyReplicas} of ${wanted} are ready, ${updatedReplicas} new`)
  })
}

/**
 * Waits until the injector's ending pods are gone, so that no API server calls one any more.
 *
 * @param replicas of {@link injectorReady}
 */
export async function formerInjectorsGone(world: World, replicas: number): Promise<void> {
  const { access, options } = world
  const labelSelector = 'app.kubernetes.io/name=pod2iam,app.kubernetes.io/component=injector'
  await until(world, `the end of former pods of ${INJECTOR}`, async () => {
    const { items } = await access.kube.list('pods', { namespace: options.namespace, labelSelector })
    return items.length === replicas
  })
}

function get({ access, options }: World, resource: string, name: string): Promise<Workload> {
  return access.kube.get<Workload>(resource, name, options.namespace)
}
