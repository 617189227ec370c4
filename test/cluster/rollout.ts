/** Waiting until the product's two workloads are as their specs say. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import type { Context } from './context.ts'
import { until } from './promise.ts'

type World = Pick<Context, 'access' | 'options' | 'signal'>
type Status = Readonly<Record<string, number | undefined>>
type Workload = KubeObject & { readonly spec: { readonly replicas?: number }; readonly status?: Status }

export const GUARD = 'pod2iam-node-guard'
export const INJECTOR = 'pod2iam-injector'

/** Every node has the present guard, ready. Returns how many. */
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

/** Every replica of the injector is the present one, ready. Returns how many. */
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
 * The injector's pods that end are gone: no API server speaks to one any more.
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
