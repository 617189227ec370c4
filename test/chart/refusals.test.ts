/** Values that helm refuses: typing errors by the schema, contradictions with a sentence. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { isMap, parseDocument } from 'yaml'
import { CHART, helm, needsHelm, RELEASE_NAMESPACE, render } from './helm.ts'

/** What helm prints when it refuses values, which are given as for `--set`. */
function refusal(...values: readonly string[]): string {
  const flags = values.flatMap((value) => ['--set', value])
  try {
    helm('template', 'pod2iam', CHART, '--namespace', RELEASE_NAMESPACE, '--kube-version=1.34.0', ...flags)
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? ''
  }
  return 'nothing was refused'
}

/** A pool of nodes with one label. */
const pool = (index: number, name: string, value: string) => [
  `guard.pools[${index}].name=${name}`,
  `guard.pools[${index}].nodes.label=pool`,
  `guard.pools[${index}].nodes.values={${value}}`,
]

const SCHEMA: readonly [string, RegExp][] = [
  ['gaurd.mode=audit', /additional properties 'gaurd' not allowed/],
  ['guard.modus=audit', /'\/guard'.*'modus' not allowed/],
  ['injector.tls.secret=x', /'\/injector\/tls'.*'secret' not allowed/],
  ['image.sidecar.sha=x', /'\/image\/sidecar'.*'sha' not allowed/],
  ['guard.mode=block', /'enforce', 'audit', 'remove'/],
  ['guard.backend=ebpf', /'\/guard\/backend'/],
  ['injector.replicas=two', /'\/injector\/replicas'.*want integer/],
  ['injector.replicas=0', /'\/injector\/replicas'.*minimum/],
  ['image.injector.digest=sha256:12', /'\/image\/injector\/digest'/],
  ['policy.baseRoleArn=arn:aws:iam::1:role/', /'\/policy\/baseRoleArn'/],
  ['policy.namespaceRestrictions=on', /'\/policy\/namespaceRestrictions'.*want boolean/],
  ['broker.sessionDuration=60', /'\/broker\/sessionDuration'.*minimum/],
  ['broker.credentialSources={irsa}', /'\/broker\/credentialSources\/0'/],
  ['broker.webIdentityAudience=a b', /'\/broker\/webIdentityAudience'/],
  ['broker.runAsUser=0', /'\/broker\/runAsUser'.*minimum/],
  ['injector.securePort=443', /'\/injector\/securePort'.*minimum/],
  ['injector.extraArgs={log-level=debug}', /'\/injector\/extraArgs\/0'/],
  ['cilium.enabled=yes', /'\/cilium\/enabled'/],
  ['networkPolicy.apiServerCidrs={10.0.0.1}', /'\/networkPolicy\/apiServerCidrs\/0'/],
  ['sidecar.tokenExpirationSeconds=599', /'\/sidecar\/tokenExpirationSeconds'.*minimum/],
  ['sidecar.tokenExpirationSeconds=172801', /'\/sidecar\/tokenExpirationSeconds'.*maximum/],
  ['sidecar.start=one-stage', /'\/sidecar\/start'.*'auto', 'two-stage'/],
  ['sidecar.resources.cpu=1', /'\/sidecar\/resources'.*'cpu' not allowed/],
  ['guard.maxUnavailable=0', /'\/guard\/maxUnavailable'/],
  ['guard.maxUnavailable=0%', /'\/guard\/maxUnavailable'/],
  ['guard.maxUnavailable=110%', /'\/guard\/maxUnavailable'/],
  ['guard.maxUnavailable=-1', /'\/guard\/maxUnavailable'/],
  ['injector.podDisruptionBudget.maxUnavailable=0', /'\/injector\/podDisruptionBudget\/maxUnavailable'/],
  ['injector.podDisruptionBudget.maxUnavailable=0%', /'\/injector\/podDisruptionBudget\/maxUnavailable'/],
  ['guard.pollInterval=0s', /'\/guard\/pollInterval'/],
  ['guard.pollInterval=50ms', /'\/guard\/pollInterval'/],
  ['guard.pollInterval=6m', /'\/guard\/pollInterval'/],
  ['guard.pollInterval=10', /'\/guard\/pollInterval'/],
  ['metrics.podMonitor.interval=0s', /'\/metrics\/podMonitor\/interval'/],
  ['global.imageRegistry=https://registry.example', /'\/global\/imageRegistry'/],
  ['image.registry=https://registry.example', /'\/image\/registry'/],
  ['image.sidecar.repository=pod2iam//sidecar', /'\/image\/sidecar\/repository'/],
  ['policy.permittedRoles={shop-*}', /'\/policy\/permittedRoles\/0'/],
  ['policy.defaultRole=a b', /'\/policy\/defaultRole'/],
  ['broker.region=eu-west', /'\/broker\/region'/],
  ['broker.issuer=oidc.example', /'\/broker\/issuer'/],
  ['broker.metadataAllow={/tags/instance/}', /'\/broker\/metadataAllow\/0'/],
  ['broker.extraEnv[0].name=POD2IAM_STS_QPS', /'\/broker\/extraEnv\/0\/name'/],
  ['broker.extraEnv[0].nam=AWS_REGION', /'\/broker\/extraEnv\/0'.*'nam' not allowed/],
  ['guard.tolerations[0].operater=Exists', /'\/guard\/tolerations\/0'.*'operater' not allowed/],
  ['guard.tolerations[0].operator=exists', /'\/guard\/tolerations\/0\/operator'/],
  ['networkPolicy.apiServerCidrs={10.0.0.300/8}', /'\/networkPolicy\/apiServerCidrs\/0'/],
  ['networkPolicy.apiServerCidrs={10.0.0.0/33}', /'\/networkPolicy\/apiServerCidrs\/0'/],
  ['networkPolicy.apiServerPorts={443,443}', /'\/networkPolicy\/apiServerPorts'/],
  ['sidecar.resources.limits.memory=64MB', /'\/sidecar\/resources\/limits\/memory'/],
  ['sidecar.resources.requests.memory=auto', /'\/sidecar\/resources\/requests\/memory'/],
  ['sidecar.resources.limits.cpu=auto', /'\/sidecar\/resources\/limits\/cpu'/],
  ['sidecar.resourcesMax.cpu=2', /'\/sidecar\/resourcesMax'/],
  ['broker.resources.limits.memory=lots', /'\/broker\/resources\/limits\/memory'/],
  ['injector.tls.existingSecret=my_secret', /'\/injector\/tls\/existingSecret'/],
  ['guard.priorityClassName=System', /'\/guard\/priorityClassName'/],
  ['tests.namespace=a.b', /'\/tests\/namespace'/],
  ['guard.pools[0].name=gpu', /'\/guard\/pools\/0'.*missing property 'nodes'/],
  ['guard.pools[0].guard.mode=audit', /'\/guard\/pools\/0\/guard'.*'mode' not allowed/],
  ['guard.pools[0].guard.healthPort=9999', /'\/guard\/pools\/0\/guard'.*'healthPort' not allowed/],
  ['guard.pools[0].broker.runAsUser=1', /'\/guard\/pools\/0\/broker'.*'runAsUser' not allowed/],
  ['guard.pools[0].guard.backend=ebpf', /'\/guard\/pools\/0\/guard\/backend'/],
  ['injector.securityContext.privileged=true', /'\/injector\/securityContext'.*'privileged' not allowed/],
  ['injector.securityContext.readOnlyRootFilesystem=false', /'\/injector\/securityContext'/],
  ['injector.securityContext.runAsUser=0', /'\/injector\/securityContext\/runAsUser'.*minimum/],
  [
    'injector.securityContext.seccompProfile.type=Unconfined',
    /'\/injector\/securityContext\/seccompProfile\/type'/,
  ],
  ['guard.securityContext.runAsUser=1000', /'\/guard\/securityContext'.*'runAsUser' not allowed/],
  ['guard.securityContext.capabilities.add={SYS_ADMIN}', /'\/guard\/securityContext'/],
  ['broker.securityContext.allowPrivilegeEscalation=true', /'\/broker\/securityContext'/],
  ['guard.podSecurityContext.sysctls[0].name=x', /'\/guard\/podSecurityContext'/],
  ['guard.updateStrategy.rollingUpdate.maxSurge=1', /'\/guard\/updateStrategy\/rollingUpdate'/],
  ['injector.updateStrategy.type=Recreate', /'\/injector\/updateStrategy\/type'/],
  ['injector.revisionHistoryLimit=-1', /'\/injector\/revisionHistoryLimit'.*minimum/],
  ['guard.dnsConfig.nameserver=1.1.1.1', /'\/guard\/dnsConfig'/],
  ['guard.extraVolumes[0].emptyDir=x', /'\/guard\/extraVolumes\/0'/],
  ['metrics.prometheusRule.disabled={NodeNotVerified}', /'\/metrics\/prometheusRule\/disabled\/0'/],
  ['metrics.prometheusRule.runbookUrl=wiki', /'\/metrics\/prometheusRule\/runbookUrl'/],
  ['metrics.prometheusRule.nodesWithoutGuard=a"b', /'\/metrics\/prometheusRule\/nodesWithoutGuard'/],
  ['metrics.podMonitor.relabelings[0].target=node', /'\/metrics\/podMonitor\/relabelings\/0'/],
]

/** Values that look odd but are valid. */
const VALID: readonly string[] = [
  'guard.maxUnavailable=100%',
  'guard.maxUnavailable=3',
  'injector.podDisruptionBudget.maxUnavailable=50%',
  'guard.pollInterval=100ms',
  'guard.pollInterval=5m',
  'image.registry=registry.example:5000/mirror/a_b',
  'image.registry=localhost',
  'global.storageClass=fast',
  'policy.permittedRoles={*:role/shop-*}',
  'broker.region=us-isob-east-1',
  'broker.region=eusc-de-east-1',
  'networkPolicy.apiServerCidrs={0.0.0.0/0,fd00::/8}',
  'sidecar.resources.requests.cpu=0.01',
  'sidecar.resources.requests.cpu=auto',
  'guard.tolerations[0].key=dedicated',
]

const CONTRADICTIONS: readonly [string, readonly string[], RegExp][] = [
  [
    'a gate that enforces beside a guard that audits',
    ['guard.mode=audit', 'gate.proof=enforce'],
    /no injected pod would ever start/,
  ],
  ['a gate that reports beside a guard that enforces', ['gate.proof=report'], /not proven/],
  [
    'a gate that reports beside a guard in mode remove',
    ['guard.mode=remove', 'gate.proof=report'],
    /not proven/,
  ],
  [
    'the kubelet’s port on the host network',
    ['injector.hostNetwork=true', 'injector.securePort=10250'],
    /10250 by the kubelet/,
  ],
  [
    'the broker’s port on the host network',
    ['injector.hostNetwork=true', 'injector.securePort=9171'],
    /choose another one/,
  ],
  [
    'the same port for two processes of a node',
    ['broker.healthPort=9173'],
    /both 9173.*[Cc]hoose different ports/,
  ],
  [
    'a certificate without the bundle to trust',
    ['injector.tls.existingSecret=tls'],
    /needs injector.tls.caBundle/,
  ],
  ['a bundle for the built-in authority', ['injector.tls.caBundle=AAAA'], /writes its own bundle/],
  [
    'an invalid bundle',
    ['injector.tls.existingSecret=tls', 'injector.tls.caBundle=AAAA'],
    /is not a Base64-encoded PEM bundle.*base64 -w0 ca\.crt/,
  ],
  [
    'the same port for both listeners of the injector',
    ['injector.healthPort=8443'],
    /both 8443.*Choose different ports/,
  ],
  ['the kubelet’s port for the guard', ['guard.healthPort=10250'], /guard\.healthPort=10250 is in use/],
  ['the broker’s own port for its health', ['broker.healthPort=9171'], /9171 by the broker/],
  [
    'a port of the guard for the injector’s health on the host network',
    ['injector.hostNetwork=true', 'injector.healthPort=9173'],
    /injector\.healthPort=9173 is in use/,
  ],
  [
    'a disruption budget that allows the eviction of every replica',
    ['injector.podDisruptionBudget.maxUnavailable=2'],
    /all 2 replicas.*keep at least one/,
  ],
  [
    'a disruption budget that allows the eviction of every replica, in percent',
    ['injector.replicas=3', 'injector.podDisruptionBudget.maxUnavailable=67%'],
    /all 3 replicas/,
  ],
  [
    'a request above its limit',
    ['sidecar.resources.requests.memory=64Mi'],
    /requests\.memory=64Mi is more than its limit of 48Mi/,
  ],
  [
    'too little CPU for the sidecar',
    ['sidecar.resources.limits.cpu=20m'],
    /start so slowly.*Set it to 50m or more/,
  ],
  [
    'a maximum below what every sidecar has',
    ['sidecar.resourcesMax.cpu=1', 'sidecar.resourcesMax.memory=32Mi'],
    /limit of 48Mi of memory is more than the 32Mi that sidecar\.resourcesMax allows/,
  ],
  [
    'two pools with the same name',
    [...pool(0, 'gpu', 'a'), ...pool(1, 'gpu', 'b')],
    /two pools called gpu.*its own name/,
  ],
  [
    'a node in two pools',
    [...pool(0, 'gpu', 'a'), ...pool(1, 'fast', 'a')],
    /nodes with pool=a are in both the pool gpu and the pool fast: select them in only one/,
  ],
  [
    'contradictory values of one pool',
    [...pool(0, 'gpu', 'a'), 'guard.ownedTable=true', 'guard.pools[0].guard.backend=iptables'],
    /in the pool gpu of guard\.pools: guard\.ownedTable=true needs/,
  ],
  [
    'a volume of a pool with the name of a volume of the chart',
    [...pool(0, 'gpu', 'a'), 'guard.pools[0].guard.extraVolumes[0].name=state'],
    /must not have a volume state/,
  ],
  [
    'a rollout that may stop every replica',
    ['injector.updateStrategy.rollingUpdate.maxUnavailable=100%'],
    /an upgrade stop all 2 replicas/,
  ],
  [
    'a rollout that cannot replace any replica',
    [
      'injector.updateStrategy.rollingUpdate.maxSurge=0',
      'injector.updateStrategy.rollingUpdate.maxUnavailable=0',
    ],
    /no replica could ever be replaced/,
  ],
  [
    'a volume with the name of a volume of the chart',
    ['guard.extraVolumes[0].name=state', 'guard.extraVolumes[0].emptyDir.medium=Memory'],
    /guard\.extraVolumes must not have a volume state.*choose another name/,
  ],
  [
    'a mount of a volume that does not exist',
    ['broker.extraVolumeMounts[0].name=ca', 'broker.extraVolumeMounts[0].mountPath=/etc/ca'],
    /mounts the volume ca, which does not exist: add it to guard\.extraVolumes/,
  ],
  ...['/run/pod2iam', '/run/pod2iam/x', '/run/../run/pod2iam/', '/', '/var/run/secrets/kubernetes.io'].map(
    (path): [string, string[], RegExp] => [
      `a mount at ${path}, over a mount of the chart`,
      [
        'guard.extraVolumes[0].name=mine',
        'broker.extraVolumeMounts[0].name=mine',
        `broker.extraVolumeMounts[0].mountPath=${path}`,
      ],
      /broker\.extraVolumeMounts must not be at .*choose another path/,
    ],
  ),
  [
    'an unknown alert',
    ['metrics.prometheusRule.disabled={Pod2iamNodeUnverified}'],
    /disabled names Pod2iamNodeUnverified, which is not an alert/,
  ],
  [
    'the severity of an unknown alert',
    ['metrics.prometheusRule.severities.Pod2iamStsRefused=info'],
    /severities names Pod2iamStsRefused/,
  ],
  ['a broker with the user of the sidecars', ['broker.runAsUser=65532'], /the injected sidecars' user, too/],
  [
    'a label by which the chart finds its objects',
    ['commonLabels.app\\.kubernetes\\.io/name=x'],
    /commonLabels must not set app\.kubernetes\.io\/name/,
  ],
  [
    'such a label on pods',
    ['guard.podLabels.app\\.kubernetes\\.io/component=x'],
    /guard\.podLabels must not set/,
  ],
  [
    'a role key that has another meaning',
    ['policy.roleKey=iam.amazonaws.com/external-id'],
    /already has another meaning/,
  ],
  [
    'a role key that is one of our other keys',
    ['policy.roleKey=pod2iam.dev/role'],
    /already has another meaning/,
  ],
  [
    'a key of service accounts that has another meaning',
    ['policy.serviceAccountRoleKey=iam.amazonaws.com/allowed-roles'],
    /policy\.serviceAccountRoleKey=.* already has another meaning/,
  ],
  [
    'kube-system both included and excluded',
    ['injector.allowKubeSystem=true', 'injector.excludeNamespaces={kube-system}'],
    /contradicts kube-system/,
  ],
  [
    'a pull Secret that no namespace gets',
    ['userNamespaces.pullSecret.dockerConfigJson=x'],
    /has no effect without/,
  ],
  [
    'an invalid pull Secret',
    ['userNamespaces.pullSecret.dockerConfigJson=x', 'userNamespaces.pullSecret.namespaces={shop}'],
    /is not a Docker configuration/,
  ],
  [
    'a role for the tests without a namespace for them',
    ['tests.role=reader'],
    /tests\.role needs tests\.namespace.*kubectl create namespace/s,
  ],
  ...['kube-system', 'pod2iam-system', 'velero'].map(
    (name) =>
      [
        `tests in ${name}, which is excluded`,
        [`tests.namespace=${name}`, 'injector.excludeNamespaces={velero}'],
        /is a namespace that the injector ignores/,
      ] as [string, string[], RegExp],
  ),
  [
    'tags on shared sessions',
    ['broker.sessionScope=role', 'broker.sessionTags=true'],
    /needs broker.sessionScope=pod/,
  ],
  [
    'web identity on shared sessions',
    ['broker.credentialSources={node-role,web-identity}', 'broker.sessionScope=role'],
    /needs broker\.sessionScope=pod/,
  ],
  [
    'web identity by default with tags',
    ['broker.credentialSources={web-identity}', 'broker.sessionTags=true'],
    /needs node-role as the first of broker\.credentialSources/,
  ],
  [
    'the same audience for both tokens',
    ['broker.credentialSources={web-identity}', 'broker.webIdentityAudience=pod2iam'],
    /could then be used in place of the web identity token/,
  ],
  ...['extraSessionTags.team=a', 'sourceIdentity=\\{namespace\\}.\\{service-account\\}'].map(
    (value) =>
      [
        `web identity by default with ${value.slice(0, 12)}`,
        ['broker.credentialSources={web-identity}', `broker.${value}`],
        /needs node-role as the first of broker\.credentialSources/,
      ] as [string, string[], RegExp],
  ),
  ['a cluster name without tags', ['broker.clusterName=x'], /no effect/],
  [
    'a cluster ARN without tags',
    ['broker.clusterArn=arn:aws:eks:eu-west-1:111111111111:cluster/x'],
    /clusterArn has no effect/,
  ],
  [
    'two names for the cluster',
    [
      ...['broker.sessionTags=true', 'broker.clusterName=x'],
      'broker.clusterArn=arn:aws:eks:eu-west-1:111111111111:cluster/xx',
    ],
    /is not the name in broker\.clusterArn/,
  ],
  ['an invalid cluster ARN', ['broker.sessionTags=true', 'broker.clusterArn=prod'], /clusterArn/],
  [
    'a tag of EKS Pod Identity as one of the operator’s',
    ['broker.extraSessionTags.Kubernetes-Namespace=shop'],
    /sets for each pod/,
  ],
  ['a reserved tag', ['broker.extraSessionTags.AWS:x=y'], /AWS reserves keys/],
  ['a tag with a comma', ['broker.extraSessionTags.x=a\\,b'], /extraSessionTags/],
  [
    'a tag with a variable that the kubelet would expand',
    ['broker.extraSessionTags.x=$(HOME)'],
    /extraSessionTags/,
  ],
  ['a tag with characters that AWS refuses', ['broker.extraSessionTags.x=a!b'], /extraSessionTags/],
  ['a tag key with such characters', ['broker.extraSessionTags.x!=a'], /'x!' does not match/],
  [
    'the same tag key twice',
    ['broker.extraSessionTags.Team=a', 'broker.extraSessionTags.team=b'],
    /upper and lower case are the same to AWS/,
  ],
  [
    'a source identity on shared sessions',
    ['broker.sessionScope=role', 'broker.sourceIdentity=\\{namespace\\}.\\{service-account\\}'],
    /sourceIdentity needs broker\.sessionScope=pod/,
  ],
  [
    'a source identity with a slash, which AWS does not accept',
    ['broker.sourceIdentity=\\{namespace\\}/\\{service-account\\}'],
    /sourceIdentity/,
  ],
  [
    'a chained session that is too long',
    ['broker.assumeRoleArn=arn:aws:iam::111111111111:role/hop', 'broker.sessionDuration=7200'],
    /at most 3600/,
  ],
  ['audit with iptables', ['guard.mode=audit', 'guard.backend=iptables'], /iptables cannot count/],
  [
    'an owned table with iptables',
    ['guard.backend=iptables', 'guard.ownedTable=true'],
    /iptables has no owned tables/,
  ],
  [
    'a startup taint without the policy that limits the injector to it',
    ['injector.startupTaint=example.com/x', 'injector.admissionPolicies=false'],
    /needs injector.admissionPolicies=true/,
  ],
  [
    'namespaces for a pull Secret without the Secret',
    ['userNamespaces.pullSecret.namespaces={shop}'],
    /needs userNamespaces/,
  ],
]

describe('the chart refuses', needsHelm, () => {
  for (const [value, sentence] of SCHEMA)
    test(`--set ${value}`, () => {
      assert.match(refusal(value), sentence)
    })

  for (const [what, values, sentence] of CONTRADICTIONS)
    test(`${what}, and says why`, () => {
      assert.match(refusal(...values), sentence)
    })

  for (const value of VALID)
    test(`not --set ${value}`, () => {
      assert.equal(refusal(value), 'nothing was refused')
    })

  for (const memory of ['31Mi', '16777216', '20M', '1e7', '32k'])
    test(`a memory limit of ${memory} for the sidecar, which would be killed at its start`, () => {
      assert.match(refusal(`sidecar.resources.limits.memory=${memory}`), /Set it to 32Mi or more/)
    })

  for (const memory of ['32Mi', '33554432', '34M', '0.1Gi', '1e8'])
    test(`not a memory limit of ${memory} for the sidecar`, () => {
      assert.equal(refusal(`sidecar.resources.limits.memory=${memory}`), 'nothing was refused')
    })

  test('a startup taint on Kubernetes 1.29, which has no policies, unless the operator accepts that', () => {
    const flags = ['--set', 'injector.startupTaint=example.com/x']
    assert.throws(
      () => render('kubernetes-1.29', ...flags),
      (error: { stderr?: string }) => /and Kubernetes 1\.30 or newer/.test(error.stderr ?? ''),
    )
    const wanted = render('kubernetes-1.29', ...flags, '--set', 'injector.startupTaintWithoutPolicy=true')
    assert.match(wanted, /--startup-taint=example\.com\/x/)
  })

  test('Kubernetes before 1.29', () => {
    assert.throws(
      () => helm('template', 'pod2iam', CHART, '--kube-version=1.28.9'),
      (error: { stderr?: string }) => /requires kubeVersion: >=1.29.0-0/.test(error.stderr ?? ''),
    )
  })
})

/** Values of 0.1.0 that are still read. */
const FORMER = ['/injector/preStopSleepSeconds is not in values.yaml']

test('the schema allows no unknown key in any part of the values, and has all the known ones', () => {
  const schema: Schema = JSON.parse(readFileSync(`${CHART}/values.schema.json`, 'utf8'))
  const values = parseDocument(readFileSync(`${CHART}/values.yaml`, 'utf8'))
  assert.deepEqual(differences(schema, schema, values.contents, ''), FORMER)
})

type Schema = {
  readonly $ref?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: boolean | Schema
  readonly definitions?: Readonly<Record<string, Schema>>
}

/** Keys that only the schema or only the values have, and maps in the schema that accept any key. */
function differences(root: Schema, given: Schema, node: unknown, path: string): string[] {
  const schema =
    given.$ref === undefined ? given : root.definitions?.[given.$ref.replace('#/definitions/', '')]
  // A map without properties is one that users fill, such as labels.
  if (schema?.properties === undefined || !isMap(node)) return []
  const { properties } = schema
  // Parts of a Kubernetes object, which are absent where the values leave them to the user.
  const optional = /(resources(Max)?|dnsConfig|[sS]ecurityContext|updateStrategy)$/.test(path)
    ? Object.keys(properties)
    : []
  const keys = node.items.map(({ key }) => String(key))
  return [
    // The map `global` has values of other charts, too.
    ...(schema.additionalProperties === false || path === '/global' ? [] : [`${path} takes any key`]),
    ...keys
      .filter((key) => properties[key] === undefined)
      .map((key) => `${path}/${key} is not in the schema`),
    ...Object.keys(properties)
      .filter((key) => !keys.includes(key) && !optional.includes(key))
      .map((key) => `${path}/${key} is not in values.yaml`),
    ...Object.entries(properties).flatMap(([key, part]) =>
      differences(root, part, node.get(key), `${path}/${key}`),
    ),
  ]
}
