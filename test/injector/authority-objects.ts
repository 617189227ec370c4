/** What the chart creates for an injector with its own authority: its rights, its Secret, and a Service that leads to a port of this machine. */
import { KEYS } from '../../common/keys.ts'
import type { Dict } from './fixtures.ts'

export const PLACE = 'pod2iam-system'
export const NAME = 'pod2iam-injector'
const RBAC = 'rbac.authorization.k8s.io'

/** What the chart grants. */
const CLUSTER_RULES = [
  { apiGroups: [''], resources: ['namespaces'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] },
  { apiGroups: [''], resources: ['limitranges', 'resourcequotas'], verbs: ['list'] },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
  {
    apiGroups: ['admissionregistration.k8s.io'],
    resources: ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'],
    resourceNames: [NAME],
    verbs: ['get', 'patch'],
  },
]
const SECRET_RULES = [
  { apiGroups: [''], resources: ['secrets'], resourceNames: [`${NAME}-ca`], verbs: ['get', 'update'] },
]

/** @param port of the webhook on 127.0.0.1 */
export function objects(port: number): Dict[] {
  const here = { name: NAME, namespace: PLACE }
  const subjects = [{ kind: 'ServiceAccount', ...here }]
  const role = (kind: string) => ({ apiGroup: RBAC, kind, name: NAME })
  const rbac = `${RBAC}/v1`
  const allowed = { [KEYS.allowedRoles]: '["arn:aws:iam::111111111111:role/shop-*"]' }
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: PLACE } },
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'shop', labels: { [KEYS.injection]: 'enabled' }, annotations: allowed },
    },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: here },
    // Empty, as the chart creates it: RBAC cannot limit `create` to one name.
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: `${NAME}-ca`, namespace: PLACE } },
    { apiVersion: rbac, kind: 'ClusterRole', metadata: { name: NAME }, rules: CLUSTER_RULES },
    {
      apiVersion: rbac,
      kind: 'ClusterRoleBinding',
      metadata: { name: NAME },
      roleRef: role('ClusterRole'),
      subjects,
    },
    { apiVersion: rbac, kind: 'Role', metadata: here, rules: SECRET_RULES },
    { apiVersion: rbac, kind: 'RoleBinding', metadata: here, roleRef: role('Role'), subjects },
    { apiVersion: 'v1', kind: 'Service', metadata: here, spec: { ports: [{ port: 443, targetPort: port }] } },
    {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: here,
      subsets: [{ addresses: [{ ip: '127.0.0.1' }], ports: [{ port }] }],
    },
  ]
}
