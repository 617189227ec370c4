/** Runs the workload controllers and the garbage collector inside the API server, each as its own user. */

import type { KubeObject } from '../objects/objects.ts'
import { keyOf, type Resource, resourceNamed } from '../objects/resources.ts'
import { isApiError } from '../objects/status.ts'
import { bind } from '../server/binding.ts'
import { type Actor, type ControllerContext, createActor } from './controller-context.ts'
import { reconcileDaemonSet } from './daemonset.ts'
import { reconcileDeployment } from './deployment.ts'
import { affectedOwners, collect } from './garbage-collector.ts'
import { reconcileJob } from './job.ts'
import { reconcileReplicaSet } from './replicaset.ts'
import { reconcileStatefulSet } from './statefulset.ts'
import { createWorkQueue } from './work-queue.ts'

type Controller = {
  readonly resource: Resource
  readonly actor: Actor
  readonly reconcile: (actor: Actor, object: KubeObject) => Promise<void>
}

const NODES_KEY = keyOf(resourceNamed('nodes'))

/** Controllers expect refusals of the API; any other error is a bug of the sandbox. */
function report(key: string, error: unknown): void {
  if (isApiError(error)) return
  process.stderr.write(`controller ${key}: ${error instanceof Error ? error.stack : error}\n`)
}

export function startControllers(context: ControllerContext): void {
  const { store, operations } = context
  const actorFor = (account: string, component: string) =>
    createActor(context, account, component, (target, name, node, caller) => {
      const body = { metadata: {}, target: { kind: 'Node', name: node } }
      return bind(store, operations, target, name, body, caller)
    })
  const controllers = new Map<string, Controller>(
    (
      [
        ['daemonsets', 'daemon-set-controller', 'daemonset-controller', reconcileDaemonSet],
        ['replicasets', 'replicaset-controller', 'replicaset-controller', reconcileReplicaSet],
        ['deployments', 'deployment-controller', 'deployment-controller', reconcileDeployment],
        ['statefulsets', 'statefulset-controller', 'statefulset-controller', reconcileStatefulSet],
        ['jobs', 'job-controller', 'job-controller', reconcileJob],
      ] as const
    ).map(([plural, account, component, reconcile]) => {
      const resource = resourceNamed(plural)
      return [resource.kind, { resource, actor: actorFor(account, component), reconcile }]
    }),
  )
  const collector = actorFor('generic-garbage-collector', 'garbage-collector')

  const workloads = createWorkQueue(async (key) => {
    const [kind = '', namespace = '', name = ''] = key.split('/')
    const controller = controllers.get(kind)
    const object = controller && store.get(controller.resource, namespace, name)
    if (controller !== undefined && object !== undefined) await controller.reconcile(controller.actor, object)
  }, report)
  const garbage = createWorkQueue((uid) => collect(collector, uid), report)

  const enqueue = (kind: string, { namespace = '', name = '' }: KubeObject['metadata']) =>
    workloads.add(`${kind}/${namespace}/${name}`)

  store.subscribe(({ type, key, object }) => {
    if (controllers.has(object.kind)) enqueue(object.kind, object.metadata)
    const owner = object.metadata.ownerReferences?.find((reference) => reference.controller === true)
    if (owner !== undefined && controllers.has(owner.kind))
      enqueue(owner.kind, { ...object.metadata, name: owner.name })
    if (key === NODES_KEY)
      for (const daemonSet of store.list(resourceNamed('daemonsets')))
        enqueue('DaemonSet', daemonSet.metadata)
    const going = type === 'DELETED' || object.metadata.deletionTimestamp !== undefined
    if (going || (type === 'ADDED' && owner !== undefined))
      for (const uid of affectedOwners(object)) garbage.add(uid)
  })
}
