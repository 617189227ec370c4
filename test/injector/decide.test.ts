import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import type { Decision } from '../../injector/admission/decide.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, ROLE, settings } from './fixtures.ts'

const ALL = namespace({ name: 'jobs', labels: { [KEYS.injection]: 'all' }, annotations: {} })
const UNANNOTATED = { [KEYS.role]: undefined }
const container = (extra: Dict): Dict => ({ containers: [{ name: 'app', image: 'orders', ...extra }] })

type Case = {
  readonly name: string
  readonly pod: unknown
  readonly namespace?: Namespace
  readonly settings?: Partial<InjectionSettings>
  readonly kind: Decision['kind']
  readonly reason: Decision['reason']
  /** Must match the sentence of a denial, or a warning. */
  readonly says?: RegExp
}

const FORGED: readonly [what: string, spec: Dict][] = [
  [
    'an init container',
    { initContainers: [{ name: 'pod2iam-sidecar', image: 'x', restartPolicy: 'Always' }] },
  ],
  ['a container', { containers: [{ name: 'pod2iam-gate', image: 'x' }] }],
  ['an ephemeral container', { ephemeralContainers: [{ name: 'pod2iam-debug', image: 'x' }] }],
  ['a volume', { volumes: [{ name: 'pod2iam-token', emptyDir: {} }] }],
]

const CASES: readonly Case[] = [
  // which pods are injected
  {
    name: 'a pod that asks in an opted-in namespace is patched',
    pod: pod(),
    kind: 'patch',
    reason: 'injected',
  },
  {
    name: 'a pod that does not ask in an enabled namespace is left alone',
    pod: pod({}, UNANNOTATED),
    kind: 'skip',
    reason: 'not-annotated',
  },
  {
    name: 'a pod that asks in a namespace that is not opted in is left alone, with a warning',
    pod: pod(),
    namespace: namespace({ labels: {} }),
    kind: 'skip',
    reason: 'namespace-not-enabled',
    says: /kubectl label namespace shop pod2iam\.dev\/injection=enabled/,
  },
  {
    name: 'an unknown value of the label does not opt a namespace in',
    pod: pod(),
    namespace: namespace({ labels: { [KEYS.injection]: 'true' } }),
    kind: 'skip',
    reason: 'namespace-not-enabled',
  },
  {
    name: 'inject: "false" wins over the role annotation',
    pod: pod({}, { [KEYS.inject]: 'false' }),
    kind: 'skip',
    reason: 'opted-out',
  },
  {
    name: 'inject: "false" opts out of a namespace labelled all',
    pod: pod({}, { ...UNANNOTATED, [KEYS.inject]: 'false' }),
    namespace: ALL,
    kind: 'skip',
    reason: 'opted-out',
  },
  {
    name: 'inject: "true" is refused, since its meaning could only be guessed',
    pod: pod({}, { [KEYS.inject]: 'true' }),
    kind: 'deny',
    reason: 'invalid-annotation',
    says: /must be "false" or "metadata", not "true"/,
  },
  {
    name: 'a mirror pod is left alone',
    pod: pod({}, { 'kubernetes.io/config.mirror': 'x' }),
    kind: 'skip',
    reason: 'mirror-pod',
  },
  {
    name: 'the injected label and the status annotation do not influence the decision',
    pod: pod({}, { [KEYS.status]: '{"version":"9"}' }, { [KEYS.injected]: 'true' }),
    kind: 'patch',
    reason: 'injected',
  },
  {
    name: 'inject: "metadata" together with a role is patched, with a warning that the role has no effect',
    pod: pod({}, { [KEYS.inject]: 'metadata' }),
    kind: 'patch',
    reason: 'injected',
    says: /has no effect beside/,
  },
  // pods that cannot have a sidecar
  {
    name: 'hostNetwork is denied',
    pod: pod({ hostNetwork: true }),
    kind: 'deny',
    reason: 'host-network',
    says: /hostNetwork/,
  },
  {
    name: 'hostNetwork is skipped with a warning where the operator chose that',
    pod: pod({ hostNetwork: true }),
    settings: { hostNetworkAnnotated: 'warn' },
    kind: 'skip',
    reason: 'host-network',
    says: /no sidecar: a pod on the host network/,
  },
  {
    name: 'spec.os windows is denied',
    pod: pod({ os: { name: 'windows' } }),
    kind: 'deny',
    reason: 'windows',
  },
  {
    name: 'a Windows node selector is denied',
    pod: pod({ nodeSelector: { 'kubernetes.io/os': 'windows' } }),
    kind: 'deny',
    reason: 'windows',
  },
  {
    name: 'a node affinity that demands Windows is denied',
    pod: pod({ affinity: affinity([['windows']]) }),
    kind: 'deny',
    reason: 'windows',
  },
  {
    name: 'a node affinity that allows Linux, too, is patched',
    pod: pod({ affinity: affinity([['windows'], ['linux']]) }),
    kind: 'patch',
    reason: 'injected',
  },
  {
    name: 'a Fargate profile label is denied',
    pod: pod({}, {}, { 'eks.amazonaws.com/fargate-profile': 'fp' }),
    kind: 'deny',
    reason: 'fargate',
  },
  {
    name: "Fargate's node selector is denied",
    pod: pod({ nodeSelector: { 'eks.amazonaws.com/compute-type': 'fargate' } }),
    kind: 'deny',
    reason: 'fargate',
  },
  ...[9169, 9170].map(
    (port): Case => ({
      name: `containerPort ${port} is denied`,
      pod: pod(container({ ports: [{ containerPort: port }] })),
      kind: 'deny',
      reason: 'port-clash',
      says: new RegExp(`container "app" listens on port ${port}`),
    }),
  ),
  {
    name: 'containerPort 9169 of an init container is denied',
    pod: pod({
      initContainers: [
        { name: 'proxy', restartPolicy: 'Always', ports: [{ containerPort: 9169, protocol: 'TCP' }] },
      ],
    }),
    kind: 'deny',
    reason: 'port-clash',
  },
  {
    name: 'UDP 9169 is nobody’s business',
    pod: pod(container({ ports: [{ containerPort: 9169, protocol: 'UDP' }] })),
    kind: 'patch',
    reason: 'injected',
  },
  ...[
    { os: { name: 'windows' } },
    { hostNetwork: true },
    { schedulerName: 'fargate-scheduler' },
    container({ ports: [{ containerPort: 9170 }] }),
  ].map(
    (spec): Case => ({
      name: `a pod that does not ask is not refused for ${JSON.stringify(spec)}`,
      pod: pod(spec, UNANNOTATED),
      namespace: ALL,
      kind: 'skip',
      reason: decide(pod(spec), namespace(), settings()).reason,
    }),
  ),
  // reserved names
  ...FORGED.flatMap(([what, spec]): Case[] => [
    {
      name: `inject: "false" does not hide ${what}`,
      pod: pod(spec, { [KEYS.inject]: 'false' }),
      kind: 'deny',
      reason: what.includes('volume') ? 'reserved-volume' : 'reserved-container',
      says: /has a reserved name; .*remove/,
    },
    {
      name: `inject: "false" does not hide ${what} in a namespace labelled all`,
      pod: pod(spec, { ...UNANNOTATED, [KEYS.inject]: 'false' }),
      namespace: ALL,
      kind: 'deny',
      reason: what.includes('volume') ? 'reserved-volume' : 'reserved-container',
    },
    {
      name: `a pod that does not ask may not carry ${what}`,
      pod: pod(spec, UNANNOTATED),
      kind: 'deny',
      reason: what.includes('volume') ? 'reserved-volume' : 'reserved-container',
    },
    {
      name: `a mirror pod may not carry ${what}`,
      pod: pod(spec, { 'kubernetes.io/config.mirror': 'x' }),
      kind: 'deny',
      reason: what.includes('volume') ? 'reserved-volume' : 'reserved-container',
    },
    {
      name: `a pod that cannot have a sidecar may not carry ${what}`,
      pod: pod({ ...spec, hostNetwork: true }, UNANNOTATED),
      namespace: ALL,
      kind: 'deny',
      reason: what.includes('volume') ? 'reserved-volume' : 'reserved-container',
    },
    {
      name: `a namespace that is not opted in may have ${what}: nobody trusts it there`,
      pod: pod(spec, { [KEYS.inject]: 'false' }),
      namespace: namespace({ labels: {} }),
      kind: 'skip',
      reason: 'opted-out',
    },
  ]),
  {
    name: 'a reserved name that the injector does not use is refused, too',
    pod: pod({ initContainers: [{ name: 'pod2iam-early', image: 'x' }] }),
    kind: 'deny',
    reason: 'reserved-container',
    says: /container "pod2iam-early" has a reserved name/,
  },
  {
    name: 'a forged sidecar of a pod that does not ask is refused in a namespace labelled all',
    pod: pod({ initContainers: [{ name: 'pod2iam-sidecar', image: 'mine' }] }, UNANNOTATED),
    namespace: ALL,
    kind: 'deny',
    reason: 'reserved-container',
  },
  // roles
  {
    name: 'an empty role is denied',
    pod: pod({}, { [KEYS.role]: '' }),
    kind: 'deny',
    reason: 'invalid-role',
    says: /the role is empty/,
  },
  ...[
    'arn:aws:iam::1:role/x',
    'ARN:aws:iam::111111111111:role/x',
    'arn:aws:s3:::bucket',
    'a b',
    'x\ny',
    'a//b?',
    `${'x'.repeat(65)}`,
    'ä',
  ].map(
    (role): Case => ({
      name: `role ${JSON.stringify(role)} is denied as invalid`,
      pod: pod({}, { [KEYS.role]: role }),
      kind: 'deny',
      reason: 'invalid-role',
    }),
  ),
  {
    name: 'a role with a variable that the kubelet would expand is denied',
    pod: pod({}, { [KEYS.role]: 'arn:aws:iam::111111111111:role/$(POD2IAM_IDENTITY)/shop-x' }),
    kind: 'deny',
    reason: 'invalid-role',
    says: /contains "\$\("/,
  },
  {
    name: 'a role that the namespace may not use is denied',
    pod: pod({}, { [KEYS.role]: 'arn:aws:iam::111111111111:role/admin' }),
    kind: 'deny',
    reason: 'role-not-allowed',
    says: /namespace shop may not use role/,
  },
  {
    name: 'a namespace without lists allows no role',
    pod: pod(),
    namespace: namespace({ annotations: {} }),
    kind: 'deny',
    reason: 'role-not-allowed',
    says: /kubectl annotate namespace shop/,
  },
  {
    name: "a role that the namespace allows is denied if it exceeds the operator's ceiling",
    pod: pod(),
    settings: { policy: { ...settings().policy, permittedRoles: ['arn:aws:iam::222222222222:role/*'] } },
    kind: 'deny',
    reason: 'role-not-allowed',
    says: /--permitted-roles/,
  },
  {
    name: 'without restrictions every role passes',
    pod: pod(),
    namespace: namespace({ annotations: {} }),
    settings: { policy: { ...settings().policy, restrictions: false } },
    kind: 'patch',
    reason: 'injected',
  },
  {
    name: 'a role by name is left to the broker, with a warning, where the base ARN is unknown',
    pod: pod({}, { [KEYS.role]: 'shop-orders' }),
    kind: 'patch',
    reason: 'injected',
    says: /--base-role-arn/,
  },
  {
    name: 'a role by name is judged where the base ARN is known',
    pod: pod({}, { [KEYS.role]: '/admin' }),
    settings: { policy: { ...settings().policy, base: 'arn:aws:iam::111111111111:role/' } },
    kind: 'deny',
    reason: 'role-not-allowed',
    says: /role\/admin/,
  },
  {
    name: 'the key of the role annotation is configurable',
    pod: pod({}, { [KEYS.role]: undefined, 'example.com/role': 'arn:aws:iam::111111111111:role/admin' }),
    settings: { roleKey: 'example.com/role' },
    kind: 'deny',
    reason: 'role-not-allowed',
  },
  {
    name: 'pods that do not ask are skipped with a warning where the default role is invalid',
    pod: pod({}, UNANNOTATED),
    namespace: { ...ALL, annotations: { [KEYS.defaultRole]: 'arn:nonsense' } },
    kind: 'skip',
    reason: 'invalid-role',
    says: /no sidecar: default role of namespace jobs/,
  },
  {
    name: 'a default role must pass the same policy',
    pod: pod({}, UNANNOTATED),
    namespace: { ...ALL, annotations: { [KEYS.defaultRole]: ROLE } },
    kind: 'skip',
    reason: 'role-not-allowed',
    says: /no sidecar/,
  },
  {
    name: "the cluster's default role must pass the same policy",
    pod: pod({}, UNANNOTATED),
    namespace: ALL,
    settings: { defaultRole: ROLE },
    kind: 'skip',
    reason: 'role-not-allowed',
  },
  // external ids and session names
  ...['["partner-7"]', '["partner-8"]', 'partner-7'].map(
    (list): Case => ({
      name: `an external id is left to the broker where the list is ${list}`,
      pod: pod({}, { [KEYS.externalId]: 'partner-7' }),
      namespace: withAnnotation(KEYS.allowedExternalIds, list),
      kind: 'patch',
      reason: 'injected',
    }),
  ),
  ...['x', 'a b', 'a\u0000b', 'x'.repeat(1225)].map(
    (value): Case => ({
      name: `external id ${JSON.stringify(value.slice(0, 8))} (${value.length}) is denied`,
      pod: pod({}, { [KEYS.externalId]: value }),
      kind: 'deny',
      reason: 'invalid-annotation',
    }),
  ),
  ...['', 'a b', 'a/b', 'x'.repeat(65), 'a\u001bb'].map(
    (value): Case => ({
      name: `session name ${JSON.stringify(value.slice(0, 8))} (${value.length}) is denied`,
      pod: pod({}, { [KEYS.sessionName]: value }),
      kind: 'deny',
      reason: 'invalid-annotation',
    }),
  ),
  // settings by annotation
  ...[KEYS.redirect, KEYS.imdsTokens, KEYS.startupGate, KEYS.logLevel].map(
    (key): Case => ({
      name: `an unknown ${key} is denied, and the sentence lists the known values`,
      pod: pod({}, { [key]: 'maybe\u0007' }),
      kind: 'deny',
      reason: 'invalid-annotation',
      says: new RegExp(`annotation ${key} must be ".*" or ".*", not "maybe\ufffd"`),
    }),
  ),
  {
    name: 'an unknown redirect mode on the namespace is denied, naming the namespace',
    pod: pod(),
    namespace: withAnnotation(KEYS.redirect, 'iptables'),
    kind: 'deny',
    reason: 'invalid-annotation',
    says: /namespace shop: annotation pod2iam\.dev\/redirect must be/,
  },
  {
    name: 'redirect mode nft is patched with a warning in a namespace whose PodSecurity refuses NET_ADMIN',
    pod: pod({}, { [KEYS.redirect]: 'nft' }),
    namespace: namespace({
      labels: { [KEYS.injection]: 'enabled', 'pod-security.kubernetes.io/enforce': 'baseline' },
    }),
    kind: 'patch',
    reason: 'injected',
    says: /PodSecurity baseline/,
  },
  {
    name: "imds-tokens cannot be weaker than the operator's, and a pod that asks for less is warned",
    pod: pod({}, { [KEYS.imdsTokens]: 'optional' }),
    settings: { imdsTokens: 'required' },
    kind: 'patch',
    reason: 'injected',
    says: /requires IMDSv2 tokens/,
  },
  ...[
    ['{', /must be JSON/],
    ['[]', /must be JSON/],
    ['{"claims":[]}', /must be JSON/],
    ['{"limits":{"nvidia.com/gpu":"1"}}', /quantities/],
    ['{"limits":{"cpu":"2"}}', /at most 1 of cpu/],
    ['{"limits":{"memory":"1Gi"}}', /at most 256Mi of memory/],
    ['{"limits":{"memory":"8Mi"}}', /at least 32Mi/],
    ['{"limits":{"cpu":"1m"}}', /at least 50m/],
    ['{"requests":{"memory":"128Mi"}}', /requests more memory than its limit of 48Mi/],
    ['{"limits":{"cpu":"-1"}}', /quantities/],
    [`{"limits":{"cpu":"1"}}${' '.repeat(1100)}`, /longer than 1024/],
  ].map(
    ([text, says]): Case => ({
      name: `sidecar resources ${String(text).slice(0, 40)} are denied`,
      pod: pod({}, { [KEYS.sidecarResources]: String(text) }),
      kind: 'deny',
      reason: 'invalid-annotation',
      says: says as RegExp,
    }),
  ),
  // malformed pods
  ...[null, [], {}, { spec: {} }, { spec: { containers: [] } }, { spec: { containers: [1] } }].map(
    (raw): Case => ({
      name: `${JSON.stringify(raw)} is denied as malformed`,
      pod: raw,
      kind: 'deny',
      reason: 'malformed-pod',
    }),
  ),
  {
    name: 'annotations that are not strings are denied as malformed',
    pod: { metadata: { annotations: { [KEYS.role]: 1 } }, spec: { containers: [{ name: 'app' }] } },
    kind: 'deny',
    reason: 'malformed-pod',
  },
]

describe('decide', () => {
  for (const { name, says, ...given } of CASES)
    it(name, () => {
      const decision = decide(given.pod, given.namespace ?? namespace(), settings(given.settings))
      assert.deepEqual([decision.kind, decision.reason], [given.kind, given.reason], JSON.stringify(decision))
      const spoken = decision.kind === 'deny' ? [decision.sentence] : decision.warnings
      if (says !== undefined)
        assert.ok(
          spoken.some((text) => says.test(text)),
          JSON.stringify(spoken),
        )
      for (const text of spoken) assert.doesNotMatch(text, /[\u0000-\u001f\u007f]/)
    })

  it('no sentence contains an external id, and no answer depends on which ones are listed', () => {
    const secret = 'external-id-of-a-partner'
    for (const id of [secret, `${secret} `]) {
      const answers = ['["other"]', '[', secret, `["${secret}"]`].map((allowed) => {
        const where = withAnnotation(KEYS.allowedExternalIds, allowed)
        const decision = decide(pod({}, { [KEYS.externalId]: id }), where, settings())
        const spoken = decision.kind === 'deny' ? [decision.sentence] : decision.warnings
        assert.doesNotMatch(spoken.join(), new RegExp(secret))
        return JSON.stringify(decision)
      })
      assert.equal(new Set(answers).size, 1)
    }
  })

  it('sentences have a bounded length, whatever the annotations contain', () => {
    for (const key of [
      KEYS.role,
      KEYS.redirect,
      KEYS.logLevel,
      KEYS.inject,
      KEYS.sessionName,
      KEYS.sidecarResources,
    ]) {
      const decision = decide(pod({}, { [key]: 'x'.repeat(200_000) }), namespace(), settings())
      assert.equal(decision.kind, 'deny')
      assert.ok(decision.kind === 'deny' && decision.sentence.length < 1000)
    }
  })

  it('the status annotation shows the role, the redirect and a gate that only reports', () => {
    const status = (overrides: Partial<InjectionSettings>) => {
      const patched = applyPatch(pod(), opsOf(decide(pod(), namespace(), settings(overrides)))) as Dict
      const { annotations } = patched.metadata as { annotations: Record<string, string> }
      return JSON.parse(annotations[KEYS.status] ?? '')
    }
    const { template, ...rest } = status({})
    assert.match(template, /^[0-9a-f]{12}$/)
    assert.deepEqual(rest, { version: '0.1.0', role: ROLE, redirect: 'nft' })
    assert.equal(status({ gateProof: 'report' }).gateProof, 'report')
  })
})

function affinity(alternatives: readonly (readonly string[])[]): Dict {
  const nodeSelectorTerms = alternatives.map((values) => ({
    matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values }],
  }))
  return { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } }
}

function withAnnotation(key: string, value: string): Namespace {
  return namespace({ annotations: { ...namespace().annotations, [key]: value } })
}
