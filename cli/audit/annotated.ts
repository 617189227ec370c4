/** What currently names a role: templates of workloads, and pods that belong to no workload. */
import type { V1ObjectMeta, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node'
import { KEYS } from '../../common/keys.ts'
import { allAccounts } from '../cluster/accounts.ts'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Owner } from '../cluster/owners.ts'
import { accountRole } from '../product/injector.ts'

export type Annotated = {
  readonly workload: Owner
  readonly role: string
  readonly isHostNetwork: boolean
  /** Its value is confidential to some degree, and is not needed here. */
  readonly hasExternalId: boolean
}

type Made = { readonly metadata?: V1ObjectMeta; readonly spec?: V1PodSpec }

type RoleOf = (made: Made | V1PodTemplateSpec | undefined, namespace: string) => string | undefined

/** The role that a pod names, or that its service account names for it. */
async function roleReader(
  cluster: Cluster,
  roleKey: string,
  accountKey: string | undefined,
): Promise<RoleOf> {
  const accounts = accountKey === undefined ? undefined : await allAccounts(cluster)
  return (made, namespace) => {
    const { [roleKey]: own, [KEYS.inject]: inject } = made?.metadata?.annotations ?? {}
    if (own !== undefined || accountKey === undefined || inject !== undefined) return own
    return accountRole(
      accounts?.get(`${namespace}/${made?.spec?.serviceAccountName || 'default'}`),
      accountKey,
    )
  }
}

/**
 * Everything in the cluster whose pods name a role with this key. What may not be listed is missing, and reported at the end of the output.
 *
 * @param serviceAccountKey the key with which service accounts name the role of pods that do not name one; undefined: they do not
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
    return all.flatMap((one) => annotatedObject(kind, one.metadata, template(one), roleOf))
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
    // This includes pods of other kinds of controllers, whose templates are not known here.
    of(
      'pods',
      'Pod',
      (query, options) => core.listPodForAllNamespaces(query, options),
      (pod) => pod,
    ),
  ]).then((lists) => lists.flat())
}

/** What is known of one object, if its pods name a role. */
function annotatedObject(
  kind: string,
  metadata: V1ObjectMeta | undefined,
  made: Made | V1PodTemplateSpec | undefined,
  roleOf: RoleOf,
): Annotated[] {
  const { name = '', namespace = '', ownerReferences = [] } = metadata ?? {}
  // An object that a controller created is reported as its controller.
  if (ownerReferences.some(({ controller }) => controller === true)) return []
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
}
