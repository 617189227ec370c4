/** What exists in a new cluster. */
import type { KubeObject } from '../objects/objects.ts'

const RBAC = 'rbac.authorization.k8s.io'
const clusterRole = (name: string, rules: object[]): KubeObject => ({
  apiVersion: `${RBAC}/v1`,
  kind: 'ClusterRole',
  metadata: { name, labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' } },
  rules,
})
const bindGroups = (name: string, ...groups: string[]): KubeObject => ({
  apiVersion: `${RBAC}/v1`,
  kind: 'ClusterRoleBinding',
  metadata: { name, labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' } },
  roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name },
  subjects: groups.map((group) => ({ kind: 'Group', apiGroup: RBAC, name: group })),
})
const get = (...nonResourceURLs: string[]) => ({ verbs: ['get'], nonResourceURLs })

const DISCOVERY = ['/api', '/api/*', '/apis', '/apis/*', '/openapi', '/openapi/*']
const PUBLIC = ['/healthz', '/livez', '/readyz', '/version', '/version/']

/** Namespaces and the default roles that matter to clients, in the order in which they are created. */
export const BOOTSTRAP: readonly KubeObject[] = [
  ...['default', 'kube-system', 'kube-public', 'kube-node-lease'].map((name) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name },
  })),
  clusterRole('cluster-admin', [
    { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
    { nonResourceURLs: ['*'], verbs: ['*'] },
  ]),
  bindGroups('cluster-admin', 'system:masters'),
  clusterRole('system:discovery', [get(...DISCOVERY, ...PUBLIC)]),
  bindGroups('system:discovery', 'system:authenticated'),
  clusterRole('system:public-info-viewer', [get(...PUBLIC)]),
  bindGroups('system:public-info-viewer', 'system:authenticated', 'system:unauthenticated'),
  clusterRole('system:service-account-issuer-discovery', [
    get(
      '/.well-known/openid-configuration',
      '/.well-known/openid-configuration/',
      '/openid/v1/jwks',
      '/openid/v1/jwks/',
    ),
  ]),
  bindGroups('system:service-account-issuer-discovery', 'system:serviceaccounts'),
]
