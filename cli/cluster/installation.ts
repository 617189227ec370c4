/** The installation of pod2iam in the cluster: its pods, and the settings on their command lines. */
import type { V1Pod } from '@kubernetes/client-node'
import { type BrokerSettings, brokerSettings } from '../product/broker.ts'
import { type InjectionSettings, readPeer, untouchedNamespaces } from '../product/injector.ts'
import type { Cluster } from './cluster.ts'
import { plainObject } from './plain-object.ts'

export const SYSTEM_NAMESPACE = 'pod2iam-system'
const PRODUCT = 'app.kubernetes.io/name=pod2iam'
const SELECTOR = `${PRODUCT},app.kubernetes.io/component in (injector,node-guard)`

export type Installation = {
  /** The namespace of its pods; undefined if none were found. */
  readonly namespace: string | undefined
  readonly injectors: readonly V1Pod[]
  readonly guards: readonly V1Pod[]
  /** Whether the caller was allowed to search for the pods. */
  readonly isListable: boolean
  /** Those of the newest injector; undefined if there is none or they cannot be parsed. */
  readonly injection: InjectionSettings | undefined
  readonly untouched: readonly string[]
}

/** Searches all namespaces or, if that is not allowed, the usual one. */
export async function findInstallation(cluster: Cluster): Promise<Installation> {
  const pods = await podsOf(cluster)
  const all = pods ?? []
  const injectors = all.filter((pod) => componentOf(pod) === 'injector')
  const guards = all.filter((pod) => componentOf(pod) === 'node-guard')
  const newest = injectors.toSorted(newestFirst)[0]
  const peer = newest === undefined ? undefined : readPeer(plainObject(newest))
  return {
    namespace: (injectors[0] ?? guards[0])?.metadata?.namespace,
    injectors,
    guards,
    isListable: pods !== undefined,
    injection: peer === undefined || 'problem' in peer.settings ? undefined : peer.settings,
    untouched: newest === undefined ? [] : untouchedNamespaces(argumentsOf(newest, 'injector')),
  }
}

/** The settings of the broker in a node guard's pod. */
export function brokerOf(guard: V1Pod): BrokerSettings | undefined {
  return brokerSettings(argumentsOf(guard, 'broker'), guard.spec?.nodeName ?? 'unknown')
}

async function podsOf({ ask, askAll, core }: Cluster): Promise<readonly V1Pod[] | undefined> {
  const labelSelector = SELECTOR
  // A refusal to list all namespaces is reported only if the usual namespace may not be listed either.
  const everywhere = await ask({ verb: 'list', resource: 'pods', quiet: true }, (options) =>
    core.listPodForAllNamespaces({ labelSelector, limit: 1 }, options),
  )
  const asked = { verb: 'list', resource: 'pods' } as const
  const pods =
    everywhere.kind === 'found'
      ? await askAll(asked, (query, options) =>
          core.listPodForAllNamespaces({ labelSelector, ...query }, options),
        )
      : await askAll({ ...asked, namespace: SYSTEM_NAMESPACE }, (query, options) =>
          core.listNamespacedPod({ namespace: SYSTEM_NAMESPACE, labelSelector, ...query }, options),
        )
  return pods.kind === 'found' ? pods.value : undefined
}

const componentOf = (pod: V1Pod) => pod.metadata?.labels?.['app.kubernetes.io/component']

function argumentsOf(pod: V1Pod, container: string): string[] {
  return pod.spec?.containers.find(({ name }) => name === container)?.args ?? []
}

const newestFirst = (one: V1Pod, other: V1Pod) =>
  (other.metadata?.creationTimestamp?.getTime() ?? 0) - (one.metadata?.creationTimestamp?.getTime() ?? 0)
