/** The resources that the sandbox serves. */

export type Resource = {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly singular: string
  readonly kind: string
  readonly namespaced: boolean
  readonly shortNames: readonly string[]
  /** Subresources with their kind, e.g. `{status: 'Pod', binding: 'Binding'}`. */
  readonly subresources: Readonly<Record<string, string>>
  /** Only POST, nothing is stored (bindings, reviews). */
  readonly virtual: boolean
}

type Extra = { short?: string[]; sub?: Record<string, string>; cluster?: boolean; virtual?: boolean }

function resource(group: string, version: string, plural: string, kind: string, extra: Extra = {}): Resource {
  return {
    group,
    version,
    plural,
    singular: kind.toLowerCase(),
    kind,
    namespaced: extra.cluster !== true,
    shortNames: extra.short ?? [],
    subresources: extra.sub ?? {},
    virtual: extra.virtual === true,
  }
}

const withStatus = (kind: string) => ({ sub: { status: kind } })
const RBAC = 'rbac.authorization.k8s.io'
const ADMISSION = 'admissionregistration.k8s.io'

export const RESOURCES: readonly Resource[] = [
  resource('', 'v1', 'namespaces', 'Namespace', {
    cluster: true,
    short: ['ns'],
    sub: { status: 'Namespace', finalize: 'Namespace' },
  }),
  resource('', 'v1', 'pods', 'Pod', {
    short: ['po'],
    sub: {
      status: 'Pod',
      binding: 'Binding',
      ephemeralcontainers: 'Pod',
      resize: 'Pod',
      exec: 'PodExecOptions',
      attach: 'PodAttachOptions',
      portforward: 'PodPortForwardOptions',
      log: 'Pod',
    },
  }),
  resource('', 'v1', 'bindings', 'Binding', { virtual: true }),
  resource('', 'v1', 'serviceaccounts', 'ServiceAccount', { short: ['sa'], sub: { token: 'TokenRequest' } }),
  resource('', 'v1', 'events', 'Event', { short: ['ev'] }),
  resource('', 'v1', 'nodes', 'Node', { cluster: true, short: ['no'], ...withStatus('Node') }),
  resource('', 'v1', 'secrets', 'Secret'),
  resource('', 'v1', 'configmaps', 'ConfigMap', { short: ['cm'] }),
  resource('', 'v1', 'services', 'Service', { short: ['svc'], ...withStatus('Service') }),
  resource('', 'v1', 'endpoints', 'Endpoints', { short: ['ep'] }),
  resource('', 'v1', 'resourcequotas', 'ResourceQuota', { short: ['quota'] }),
  resource('', 'v1', 'limitranges', 'LimitRange', { short: ['limits'] }),
  resource('apps', 'v1', 'deployments', 'Deployment', { short: ['deploy'], ...withStatus('Deployment') }),
  resource('apps', 'v1', 'daemonsets', 'DaemonSet', { short: ['ds'], ...withStatus('DaemonSet') }),
  resource('apps', 'v1', 'statefulsets', 'StatefulSet', { short: ['sts'], ...withStatus('StatefulSet') }),
  resource('apps', 'v1', 'replicasets', 'ReplicaSet', { short: ['rs'], ...withStatus('ReplicaSet') }),
  resource('apps', 'v1', 'controllerrevisions', 'ControllerRevision'),
  resource('batch', 'v1', 'jobs', 'Job', withStatus('Job')),
  resource('batch', 'v1', 'cronjobs', 'CronJob', { short: ['cj'], ...withStatus('CronJob') }),
  resource('events.k8s.io', 'v1', 'events', 'Event', { short: ['ev'] }),
  resource('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget', {
    short: ['pdb'],
    ...withStatus('PodDisruptionBudget'),
  }),
  resource('networking.k8s.io', 'v1', 'networkpolicies', 'NetworkPolicy', { short: ['netpol'] }),
  resource('scheduling.k8s.io', 'v1', 'priorityclasses', 'PriorityClass', { cluster: true, short: ['pc'] }),
  resource(RBAC, 'v1', 'roles', 'Role'),
  resource(RBAC, 'v1', 'rolebindings', 'RoleBinding'),
  resource(RBAC, 'v1', 'clusterroles', 'ClusterRole', { cluster: true }),
  resource(RBAC, 'v1', 'clusterrolebindings', 'ClusterRoleBinding', { cluster: true }),
  resource(ADMISSION, 'v1', 'mutatingwebhookconfigurations', 'MutatingWebhookConfiguration', {
    cluster: true,
  }),
  resource(ADMISSION, 'v1', 'validatingwebhookconfigurations', 'ValidatingWebhookConfiguration', {
    cluster: true,
  }),
  resource(ADMISSION, 'v1', 'validatingadmissionpolicies', 'ValidatingAdmissionPolicy', {
    cluster: true,
    ...withStatus('ValidatingAdmissionPolicy'),
  }),
  resource(ADMISSION, 'v1', 'validatingadmissionpolicybindings', 'ValidatingAdmissionPolicyBinding', {
    cluster: true,
  }),
  resource('coordination.k8s.io', 'v1', 'leases', 'Lease'),
  resource('authorization.k8s.io', 'v1', 'subjectaccessreviews', 'SubjectAccessReview', {
    cluster: true,
    virtual: true,
  }),
]

export function apiVersionOf({ group, version }: { group: string; version: string }): string {
  return group === '' ? version : `${group}/${version}`
}

/** `group/plural`: identifies a resource in the store. */
export function keyOf({ group, plural }: { group: string; plural: string }): string {
  return `${group}/${plural}`
}

const BY_PATH = new Map(RESOURCES.map((r) => [`${r.group}/${r.version}/${r.plural}`, r]))
const BY_KIND = new Map(RESOURCES.map((r) => [`${apiVersionOf(r)}/${r.kind}`, r]))

export function resourceByPath(group: string, version: string, plural: string): Resource | undefined {
  return BY_PATH.get(`${group}/${version}/${plural}`)
}

export function resourceByKind(apiVersion: string, kind: string): Resource | undefined {
  return BY_KIND.get(`${apiVersion}/${kind}`)
}

/**
 * The resource of a name as one writes it for kubectl: `pods`, `deployments`, `deployments.apps`,
 * `events.events.k8s.io`. The first in the table wins (core `events`).
 *
 * @throws Error when the sandbox does not serve it
 */
export function resourceNamed(name: string): Resource {
  const [plural = name, ...rest] = name.split('.')
  const group = rest.join('.')
  const found = RESOURCES.find((r) => r.plural === plural && (rest.length === 0 || r.group === group))
  if (found === undefined) throw new Error(`The sandbox's API server has no resource "${name}".`)
  return found
}

/** Path of a collection or an object, e.g. `/api/v1/namespaces/web/pods/p/status`. */
export function pathOf(r: Resource, namespace?: string, name?: string, subresource?: string): string {
  const root = r.group === '' ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`
  const scope = r.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : ''
  const rest = [name, subresource]
    .filter((part) => part !== undefined)
    .map((part) => encodeURIComponent(part))
  return `${root}${scope}/${[r.plural, ...rest].join('/')}`
}
