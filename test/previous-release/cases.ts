/** The pods and settings that are recorded: examples of everything that changes what the injector adds. */
type Dict = Readonly<Record<string, unknown>>
type Texts = Readonly<Record<string, string>>

type Namespace = { readonly name: string; readonly labels: Texts; readonly annotations: Texts }

/** One admission: flags of the injector, the pod's namespace, and the pod as somebody submits it. */
export type Case = {
  readonly name: string
  readonly settings: readonly string[]
  readonly namespace: Namespace
  readonly pod: Dict
}

const ROLE = 'arn:aws:iam::111111111111:role/shop-orders'

const SHOP: Namespace = {
  name: 'shop',
  labels: { 'pod2iam.dev/injection': 'enabled' },
  annotations: { 'iam.amazonaws.com/allowed-roles': '["arn:aws:iam::111111111111:role/shop-*"]' },
}
const BASELINE = { ...SHOP, labels: { ...SHOP.labels, 'pod-security.kubernetes.io/enforce': 'baseline' } }
const ENV_BY_DEFAULT = { ...SHOP, annotations: { ...SHOP.annotations, 'pod2iam.dev/redirect': 'env' } }
const EXTERNAL_IDS = {
  ...SHOP,
  annotations: { ...SHOP.annotations, 'pod2iam.dev/allowed-external-ids': '["partner-7"]' },
}
const ALL: Namespace = {
  name: 'jobs',
  labels: { 'pod2iam.dev/injection': 'all' },
  annotations: {
    'iam.amazonaws.com/default-role': 'arn:aws:iam::111111111111:role/jobs-base',
    'iam.amazonaws.com/allowed-roles': '["arn:aws:iam::111111111111:role/jobs-*"]',
  },
}

const pod = (annotations: Texts = {}, spec: Dict = {}, role: Texts = { 'iam.amazonaws.com/role': ROLE }) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'orders', annotations: { ...role, ...annotations } },
  spec: { containers: [{ name: 'app', image: 'orders' }], ...spec },
})

const bySettings = (name: string, ...settings: string[]): Case => ({
  name,
  settings,
  namespace: SHOP,
  pod: pod(),
})
const byPod = (name: string, one: Dict, namespace = SHOP): Case => ({
  name,
  settings: [],
  namespace,
  pod: one,
})

const GUARANTEED = { requests: { cpu: '2', memory: '1Gi' }, limits: { cpu: '2', memory: '1Gi' } }

export const CASES: readonly Case[] = [
  bySettings('defaults'),
  bySettings('setting: redirect env', '--redirect=env'),
  bySettings('setting: IMDS tokens required', '--imds-tokens=required'),
  bySettings('setting: startup gate off', '--startup-gate=off'),
  bySettings('setting: audit mode, the gate only reports', '--gate-proof=report'),
  bySettings('setting: a timeout proves the block', '--gate-accept-drop=true'),
  bySettings('setting: audit mode and env', '--gate-proof=report', '--redirect=env'),
  bySettings('setting: sidecars log debug', '--sidecar-log-level=debug'),
  bySettings('setting: image pull policy Always', '--image-pull-policy=Always'),
  bySettings(
    'setting: sidecar resources',
    '--sidecar-resources={"requests":{"cpu":"20m"},"limits":{"memory":"96Mi"}}',
  ),
  bySettings(
    'setting: images of a private registry, by digest',
    `--sidecar-image=registry.example.com:5000/mirror/pod2iam/sidecar@sha256:${'a'.repeat(64)}`,
    `--node-guard-image=registry.example.com:5000/mirror/pod2iam/node-guard@sha256:${'b'.repeat(64)}`,
  ),
  {
    name: 'setting: another role key, roles by name',
    settings: [
      '--role-key=example.com/role',
      '--base-role-arn=arn:aws:iam::111111111111:role/',
      '--namespace-restriction-format=regexp',
    ],
    namespace: {
      ...SHOP,
      annotations: { 'iam.amazonaws.com/allowed-roles': '["arn:aws:iam::111111111111:role/shop-.*"]' },
    },
    pod: pod({}, {}, { 'example.com/role': 'shop-orders' }),
  },
  {
    name: 'setting: everything at once',
    settings: [
      '--redirect=env',
      '--imds-tokens=required',
      '--startup-gate=off',
      '--gate-proof=report',
      '--gate-accept-drop=true',
      '--sidecar-log-level=warn',
      '--image-pull-policy=Never',
      '--sidecar-resources={"requests":{"cpu":"1m","memory":"8Mi"}}',
    ],
    namespace: EXTERNAL_IDS,
    pod: pod({ 'iam.amazonaws.com/external-id': 'partner-7', 'iam.amazonaws.com/session-name': 'orders-eu' }),
  },
  byPod('annotation: redirect env', pod({ 'pod2iam.dev/redirect': 'env' })),
  byPod('annotation: redirect nft', pod({ 'pod2iam.dev/redirect': 'nft' })),
  byPod('annotation: IMDS tokens required', pod({ 'pod2iam.dev/imds-tokens': 'required' })),
  byPod('annotation: startup gate off', pod({ 'pod2iam.dev/startup-gate': 'off' })),
  byPod('annotation: log level', pod({ 'pod2iam.dev/log-level': 'error' })),
  byPod(
    'annotation: sidecar resources',
    pod({ 'pod2iam.dev/sidecar-resources': '{"limits":{"cpu":"200m","memory":"64Mi"}}' }),
  ),
  byPod('annotation: session name', pod({ 'iam.amazonaws.com/session-name': 'orders-eu' })),
  byPod('annotation: external id', pod({ 'iam.amazonaws.com/external-id': 'partner-7' }), EXTERNAL_IDS),
  byPod('annotation: metadata only', pod({ 'pod2iam.dev/inject': 'metadata' }, {}, {})),
  byPod('namespace: redirect env', pod(), ENV_BY_DEFAULT),
  byPod('namespace: PodSecurity baseline', pod(), BASELINE),
  byPod('namespace: all, by its default role', pod({}, {}, {}), ALL),
  byPod(
    'namespace: all, a role of its own',
    pod({}, {}, { 'iam.amazonaws.com/role': 'arn:aws:iam::111111111111:role/jobs-report' }),
    ALL,
  ),
  byPod('namespace: all without a default role', pod({}, {}, {}), { ...ALL, annotations: {} }),
  byPod(
    'pod: Guaranteed',
    pod({}, { containers: [{ name: 'app', image: 'orders', resources: GUARANTEED }] }),
  ),
  byPod('pod: restart policy Never', pod({}, { restartPolicy: 'Never' })),
  byPod('pod: restart policy OnFailure', pod({}, { restartPolicy: 'OnFailure' })),
  byPod(
    'pod: init containers of its own',
    pod({}, { initContainers: [{ name: 'migrate', image: 'orders' }] }),
  ),
  byPod(
    'pod: behind a mesh, mode env',
    pod(
      { 'pod2iam.dev/redirect': 'env' },
      {
        initContainers: [
          { name: 'istio-init', image: 'istio/proxyv2', args: ['istio-iptables'] },
          { name: 'istio-proxy', image: 'istio/proxyv2', restartPolicy: 'Always' },
          { name: 'migrate', image: 'orders', env: [{ name: 'STEP', value: '1' }] },
        ],
      },
    ),
  ),
  byPod(
    'pod: volumes and security of its own',
    pod(
      {},
      {
        volumes: [{ name: 'data', emptyDir: {} }],
        securityContext: { runAsUser: 1000, fsGroup: 2000, runAsNonRoot: true },
        serviceAccountName: 'orders',
        automountServiceAccountToken: false,
      },
    ),
  ),
]
