/** The notes that helm prints after an installation. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CHART, helm, needsHelm, RELEASE_NAMESPACE } from './helm.ts'

function notes(...values: readonly string[]): string {
  const flags = [
    '--namespace',
    RELEASE_NAMESPACE,
    '--dry-run=client',
    ...values.map((value) => `--set=${value}`),
  ]
  const [, text] = helm('install', 'pod2iam', CHART, ...flags).split('\nNOTES:\n')
  return text ?? assert.fail('there are no notes')
}

describe('the notes', needsHelm, () => {
  test('lead from the rollout and the proof to the first annotated workload', () => {
    const text = notes()
    assert.match(
      text,
      /rollout status deployment\/pod2iam-injector\n.*rollout status daemonset\/pod2iam-node-guard\n/,
    )
    assert.match(text, /helm -n pod2iam-system test pod2iam\n/)
    assert.match(text, /kubectl label namespace my-namespace pod2iam\.dev\/injection=enabled\n/)
    assert.match(text, /allowed-roles='\["my-role"\]'\n/)
    assert.match(text, /get events --field-selector reason=FailedCreate\n/)
    assert.match(text, /hop limit of 1 as well: this protects/)
    const [, patch = ''] = /-p '(.*)'/.exec(text) ?? []
    assert.deepEqual(JSON.parse(patch).spec.template.metadata.annotations, {
      'iam.amazonaws.com/role': 'my-role',
    })
  })

  test('ask for no permission where none is needed, and name the configured annotation', () => {
    const text = notes('policy.namespaceRestrictions=false', 'policy.roleKey=example.com/role')
    assert.doesNotMatch(text, /allowed-roles/)
    assert.match(text, /"example\.com\/role":"my-role"/)
  })

  test('say in mode audit how to see who would be blocked, not how to prove a block', () => {
    const text = notes('guard.mode=audit')
    assert.match(text, /firewall\.cjs status/)
    assert.match(text, /docs\/operations\.md \(Who would be refused\)/)
    assert.match(text, /not on the host network will be blocked, too/)
    assert.match(text, /kube2iam\nor kiam before you enforce/)
    assert.match(text, /hop limit of 1 as well, but only after you enforce: /)
    assert.doesNotMatch(text, /helm .* test/)
  })

  test('say what the tests do not prove without a namespace and a role, and do not mention disabled tests', () => {
    assert.match(notes(), /With tests\.namespace=.*that is opted in.*\n?.*tests\.role=/s)
    assert.match(notes('tests.namespace=shop'), /With tests\.role=.*that shop may use/)
    assert.doesNotMatch(notes('tests.namespace=shop', 'tests.role=reader'), /With tests\./)
    assert.doesNotMatch(notes('tests.enabled=false'), /helm .* test /)
  })

  test('have no warning by default', () => {
    assert.doesNotMatch(notes(), /WARNING/)
  })

  for (const [value, warning] of [
    ['injector.replicas=1', /no pod that asks for a role is admitted\. Set it to 2 or more/],
    ['injector.podDisruptionBudget.enabled=false', /all replicas of the injector may be evicted/],
    ['guard.nodeSelector.pool=web', /guard\.nodeSelector excludes nodes/],
    ['guard.affinity.nodeAffinity.x=y', /guard\.affinity may exclude nodes/],
    ['guard.tolerations=null', /does not tolerate every taint.*\{operator: Exists\}/],
    ['guard.tolerations[0].operator=Exists,guard.tolerations[0].key=a', /does not tolerate every taint/],
    ['broker.resources.limits.memory=100M', /is 100M, less than the 160Mi .* killed when it is needed most/],
    ['policy.namespaceRestrictions=false', /can use every role/],
    ['broker.requireFirewall=false', /not proven/],
    ['broker.sessionDuration=7200', /STS refuses more than 3600/],
    [
      'guard.pools[0].name=gpu,guard.pools[0].nodes.label=pool,guard.pools[0].nodes.values={gpu},guard.pools[0].guard.nodeSelector.arch=arm',
      /the pool gpu of guard\.pools has a nodeSelector.*get no guard at all/,
    ],
    ['guard.updateStrategy.type=OnDelete', /takes effect on a node only when you delete its guard pod/],
    ['metrics.prometheusRule.enabled=true', /without both monitors.*some alerts fire permanently/],
  ] as const)
    test(`warn about ${value}`, () => {
      assert.match(notes(value), new RegExp(`\\nWARNING: .*${warning.source}`))
      assert.doesNotMatch(notes(value, 'guard.mode=remove'), /WARNING/)
    })

  test('do not warn about such a value if another one makes it safe', () => {
    const keys = ['broker.extraEnv[0].name=AWS_ACCESS_KEY_ID', 'broker.extraEnv[0].value=x']
    assert.doesNotMatch(notes('broker.sessionDuration=7200', ...keys), /WARNING/)
    const ceiling = 'policy.permittedRoles={arn:aws:iam::111111111111:role/shop-*}'
    assert.doesNotMatch(notes('policy.namespaceRestrictions=false', ceiling), /WARNING/)
  })

  test('say in mode remove how the removal ends', () => {
    const text = notes('guard.mode=remove')
    assert.match(
      text,
      /rollout status daemonset\/pod2iam-node-guard\n.*helm -n pod2iam-system uninstall pod2iam$/m,
    )
    assert.doesNotMatch(text, /annotate/)
  })
})
