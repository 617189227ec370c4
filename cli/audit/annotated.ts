/** What asks for a role today: the templates of workloads, and pods of no workload. */
import type { V1ObjectMeta, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node'
import { KEYS } from '../../common/keys.ts'
import { allAccounts } from '../cluster/accounts.ts'
import { foundIn } from '../cluster/asked.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Owner } from '../cluster/owners.ts'

export type Annotated = {
  readonly workload: Owner
  readonly role: string
  readonly isHostNetwork: boolean
  /** Its value is half a secret, and nobody needs it here. */
  readonly hasExternalId: boolean
}

type Made = { readonly metadata?: V1ObjectMeta; readonly spec?: V1PodSpec }

type RoleOf = (made: Made | V1PodTemplateSpec | undefined, namespace: string) => string | undefined

/** The role that a pod names, or its service account for it. */
async function roleReader(
  cluster: Cluster,
  roleKey: string,
  accountKey: string | undefined,
): Promise<RoleOf> {
  const accounts = accountKey === undefined ? undefined : await allAccounts(cluster)
  return (made, namespace) => {
    const { [roleKey]: own, [KEYS.inject]: inject } = made?.metadata?.annotations ?? {}
    if (own !== undefined || accountKey === undefined || inject !== undefined) return own
    return accounts?.get(`${namespace}/${made?.spec?.serviceAccountName || 'default'}`)?.annotations[
      accountKey
    ]
  }
}

/**
 * Everything of the cluster whose pods name a role by this key; what may not be listed is missing, and told of at the end.
 *
 * @param serviceAccountKey by which service accounts name the role of pods that name none; undefined: they do not
 */
export async function annotated(
  cluster: Cluster,
  roleKey: string,
  serviceAccountKey: string | undefined,
): Promise<readonly Annotated[]> {
  const { askAll, core, apps, batch } = cluster
  const roleOf = await roleReader(cluster, roleKey, serviceAccountKey)
  const of = async <T extends { metadata?: V1ObjectMeta }>(
    resource: string,
    kind: string,
    list: Parameters<typeof askAll<T>>[1],
    template: (one: T) => Made | V1PodTemplateSpec | undefined,
  ): Promise<Annotated[]> => {
    const all = foundIn(await askAll({ verb: 'list', resource }, list)) ?? []
    return all.flatMap((one) => {
      const { name = '', namespace = '', ownerReferences = [] } = one.metadata ?? {}
      // What a controller made is told of by its controller.
      if (ownerReferences.some(({ controller }) => controller === true)) return []
      const made = template(one)
      const role = roleOf(made, namespace)
      if (role === undefined) return []
      return [
        {
          workload: { namespace, kind, name },
          role,
          isHostNetwork: made?.spec?.hostNetwork === true,
          hasExternalId: made?.metadata?.annotations?.[KEYS.externalId] !== undefined,
        },
      ]
    })
  }
  return Promise.all([
    of(
      'deployments.apps',
      'Deployment',
      (query, options) => apps.listDeploymentForAllNamespaces(query, options),
      ({ spec }) => spec?.template,
    ),
    of(
      'statefulsets.apps',
      'StatefulSet',
      (query, options) => apps.listStatefulSetForAllNamespaces(query, options),
      ({ spec }) => spec?.template,
    ),
    of(
      'daemonsets.apps',
      'DaemonSet',
      (query, options) => apps.listDaemonSetForAllNamespaces(query, options),
      ({ spec }) => spec?.template,
    ),
    of(
      'cronjobs.batch',
      'CronJob',
      (query, options) => batch.listCronJobForAllNamespaces(query, options),
      ({ spec }) => spec?.jobTemplate.spec?.template,
    ),
    of(
      'jobs.batch',
      'Job',
      (query, options) => batch.listJobForAllNamespaces(query, options),
      ({ spec }) => spec?.template,
    ),
    // Also those of controllers of other kinds, whose templates nobody here knows.
    of(
      'pods',
      'Pod',
      (query, options) => core.listPodForAllNamespaces(query, options),
      (pod) => pod,
    ),
  ]).then((lists) => lists.flat())
}
