/**
 * pod2iam as an operator installs it, as plain objects: what the Helm chart will render, with the least rights of
 * each component.
 */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

export const SYSTEM_NAMESPACE = 'pod2iam-system'
export const INJECTOR = 'pod2iam-injector'
export const NODE_GUARD = 'pod2iam-node-guard'
export const SIDECAR_IMAGE = 'pod2iam/sidecar:dev'
export const INJECTOR_IMAGE = 'pod2iam/injector:dev'
export const NODE_GUARD_IMAGE = 'pod2iam/node-guard:dev'

export type InstallSettings = {
  /** PEM, for `pod2iam-injector.pod2iam-system.svc`. */
  readonly certificate: { readonly cert: string; readonly key: string }
  /** The broker's entry point in the node guard's image, whose own is the firewall's. */
  readonly brokerCommand: readonly string[]
  readonly firewallArgs?: readonly string[]
  readonly brokerArgs?: readonly string[]
  readonly brokerEnv?: Readonly<Record<string, string>>
  readonly injectorArgs?: readonly string[]
}

type KubeObject = {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
} & Record<string, unknown>

type ClientConfig = { url?: string; service?: Record<string, unknown>; caBundle?: string }

const namespaced = (name: string) => ({ name, namespace: SYSTEM_NAMESPACE })

/** Everything but the webhook, in the order of application. */
export function components(settings: InstallSettings): KubeObject[] {
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SYSTEM_NAMESPACE } },
    ...rights(INJECTOR, [
      // Labels and annotations of the namespace a pod is admitted to.
      { apiGroups: [''], resources: ['namespaces'], verbs: ['get'] },
    ]),
    ...rights(NODE_GUARD, [
      // Pods of this node (RBAC cannot say "of this node"), and the policy on their namespaces.
      { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['get', 'list', 'watch'] },
      // Refusals are told as Events on the pod.
      { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
    ]),
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: namespaced(`${INJECTOR}-tls`),
      type: 'kubernetes.io/tls',
      data: { 'tls.crt': base64(settings.certificate.cert), 'tls.key': base64(settings.certificate.key) },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: namespaced(INJECTOR),
      spec: { selector: { app: INJECTOR }, ports: [{ name: 'webhook', port: 443, targetPort: 'webhook' }] },
    },
    injector(settings),
    nodeGuard(settings),
  ]
}

/** The webhook configuration we ship, with the bundle that the API server trusts. */
export function webhooks(caBundle: string): KubeObject & { webhooks: { clientConfig: ClientConfig }[] } {
  const object = parse(
    readFileSync(new URL('../../charts/pod2iam/files/webhooks.yaml', import.meta.url), 'utf8'),
  )
  for (const { clientConfig } of object.webhooks) clientConfig.caBundle = base64(caBundle)
  return object
}

function injector({ injectorArgs = [] }: InstallSettings): KubeObject {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: namespaced(INJECTOR),
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: INJECTOR } },
      template: {
        metadata: { labels: { app: INJECTOR } },
        spec: {
          serviceAccountName: INJECTOR,
          containers: [
            {
              name: 'injector',
              image: INJECTOR_IMAGE,
              args: [
                '--tls-cert-file=/etc/pod2iam/tls/tls.crt',
                '--tls-key-file=/etc/pod2iam/tls/tls.key',
                `--sidecar-image=${SIDECAR_IMAGE}`,
                `--node-guard-image=${NODE_GUARD_IMAGE}`,
                ...injectorArgs,
              ],
              ports: [
                { name: 'webhook', containerPort: 8443 },
                { name: 'health', containerPort: 8080 },
              ],
              readinessProbe: { httpGet: { path: '/readyz', port: 'health' }, periodSeconds: 1 },
              securityContext: unprivileged(),
              volumeMounts: [{ name: 'tls', mountPath: '/etc/pod2iam/tls', readOnly: true }],
            },
          ],
          // Readable by uid 65532, by nobody else.
          securityContext: { fsGroup: 65532 },
          volumes: [{ name: 'tls', secret: { secretName: `${INJECTOR}-tls`, defaultMode: 0o440 } }],
        },
      },
    },
  }
}

function nodeGuard({
  brokerCommand,
  firewallArgs = [],
  brokerArgs = [],
  brokerEnv = {},
}: InstallSettings): KubeObject {
  const state = { name: 'state', mountPath: '/run/pod2iam' }
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: namespaced(NODE_GUARD),
    spec: {
      selector: { matchLabels: { app: NODE_GUARD } },
      template: {
        metadata: { labels: { app: NODE_GUARD } },
        spec: {
          serviceAccountName: NODE_GUARD,
          // Only the broker gets a token, by its own mount below.
          automountServiceAccountToken: false,
          hostNetwork: true,
          tolerations: [{ operator: 'Exists' }],
          containers: [
            {
              name: 'firewall',
              image: NODE_GUARD_IMAGE,
              args: ['guard', ...firewallArgs],
              readinessProbe: { httpGet: { path: '/readyz', port: 9173 }, periodSeconds: 1 },
              securityContext: {
                runAsUser: 0,
                runAsGroup: 0,
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
                seccompProfile: { type: 'RuntimeDefault' },
              },
              volumeMounts: [state],
            },
            {
              name: 'broker',
              image: NODE_GUARD_IMAGE,
              command: brokerCommand,
              args: brokerArgs,
              env: [
                { name: 'POD2IAM_NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
                ...Object.entries(brokerEnv).map(([name, value]) => ({ name, value })),
              ],
              readinessProbe: { httpGet: { path: '/readyz', port: 9172 }, periodSeconds: 1 },
              securityContext: unprivileged(),
              volumeMounts: [
                { ...state, readOnly: true },
                { name: 'api', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
              ],
            },
          ],
          volumes: [
            { name: 'state', emptyDir: { medium: 'Memory' } },
            {
              name: 'api',
              projected: {
                sources: [
                  { serviceAccountToken: { path: 'token', expirationSeconds: 3600 } },
                  { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
                ],
              },
            },
          ],
        },
      },
    },
  }
}

function unprivileged() {
  return {
    runAsUser: 65532,
    runAsGroup: 65532,
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  }
}

function rights(name: string, rules: readonly Record<string, unknown>[]): KubeObject[] {
  const rbac = 'rbac.authorization.k8s.io'
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: namespaced(name) },
    { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name }, rules },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: SYSTEM_NAMESPACE }],
    },
  ]
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}
