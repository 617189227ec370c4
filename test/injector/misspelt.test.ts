/** Keys and values without effect, and the warning about each. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { editDistance } from '../../injector/warnings/edit-distance.ts'
import { misspeltKeys } from '../../injector/warnings/misspelt-keys.ts'
import { namespaceValues, podValues } from '../../injector/warnings/misspelt-values.ts'
import { workloadMetadataWarnings } from '../../injector/warnings/workload-metadata.ts'
import { namespace, settings } from './fixtures.ts'

const keysOf = (
  place: 'pod' | 'namespace',
  given: { annotations?: Record<string, string>; labels?: Record<string, string> },
  roleKey: string = KEYS.role,
) => misspeltKeys({ annotations: {}, labels: {}, ...given }, place, roleKey)

const ofAnnotation = (key: string, place: 'pod' | 'namespace' = 'pod', roleKey?: string) =>
  keysOf(place, { annotations: { [key]: 'x' } }, roleKey)
const ofLabel = (key: string, place: 'pod' | 'namespace' = 'pod') => keysOf(place, { labels: { [key]: 'x' } })

describe('the edit distance', () => {
  for (const [a, b, distance] of [
    ['role', 'role', 0],
    ['rol', 'role', 1],
    ['roel', 'role', 1],
    ['redirct', 'redirect', 1],
    ['rdeirct', 'redirect', 2],
    ['', 'ab', 2],
    ['abc', 'xyz', 3],
    ['a', 'abcdefgh', 3],
  ] as const)
    it(`of ${a || 'nothing'} and ${b} is ${distance}, at most 3`, () => {
      assert.equal(editDistance(a, b, 2), distance)
      assert.equal(editDistance(b, a, 2), distance)
    })
})

describe('a misspelt annotation of a pod', () => {
  for (const [key, meant] of [
    ['iam.amazonaws.com/rol', KEYS.role],
    ['iam.amazonaws.com/roles', KEYS.role],
    ['iam.amazonaws.com/Role', KEYS.role],
    ['iam.amazonaws.com/role-arn', KEYS.role],
    ['iam.amazonaws.com/iam-role', KEYS.role],
    ['iam.amazonaws.com/external_id', KEYS.externalId],
    ['iam.amazonaws.com/session-nam', KEYS.sessionName],
    ['iam.amazonaws.com/inject', KEYS.inject],
    ['iam.amazonaw.com/role', KEYS.role],
    ['iam.amazon.com/role', KEYS.role],
    ['iam.aws.com/role', KEYS.role],
    ['iam.amazonaws.com.cn/role', KEYS.role],
    ['ima.amazonaws.com/role', KEYS.role],
    ['IAM.amazonaws.com/role', KEYS.role],
    ['pod2iam.dev/role', KEYS.role],
    ['pod2iam.dev/redirct', KEYS.redirect],
    ['pod2iam.dev/Redirect', KEYS.redirect],
    ['pod2iam.dev/imdsTokens', KEYS.imdsTokens],
    ['pod2iam.dev/startup_gate', KEYS.startupGate],
    ['pod2iam.io/inject', KEYS.inject],
    ['pod2iam/redirect', KEYS.redirect],
    ['pod2aim.dev/redirect', KEYS.redirect],
    ['pod2iam.dev/loglevel', KEYS.logLevel],
  ] as const)
    it(`${key} is warned about, with the suggestion ${meant}`, () => {
      assert.deepEqual(ofAnnotation(key), [
        `annotation "${key}" means nothing to pod2iam: did you mean ${meant}?`,
      ])
    })

  it('pod2iam.dev/anything is warned about without a suggestion', () => {
    assert.deepEqual(ofAnnotation('pod2iam.dev/anything'), [
      'annotation "pod2iam.dev/anything" means nothing to pod2iam: remove it, or write the key that is meant',
    ])
  })

  for (const key of [
    ...[KEYS.role, KEYS.externalId, KEYS.sessionName, KEYS.redirect, KEYS.status, KEYS.inject],
    // These belong to other programs, or are other keys of kube2iam.
    ...[
      'iam.amazonaws.com/irsa-service-account',
      'iam.amazonaws.com/role-session-ttl',
      'eks.amazonaws.com/role-arn',
    ],
    ...[
      'iam.gke.io/gcp-service-account',
      'vpc.amazonaws.com/pod-ips',
      'app.kubernetes.io/role',
      'role',
      'redirect',
    ],
    ...['sidecar.istio.io/inject', 'linkerd.io/inject', 'vault.hashicorp.com/role', 'a/b/c', '/', ''],
    'x'.repeat(1000),
  ])
    it(`${key.slice(0, 50)} is left alone`, () => assert.deepEqual(ofAnnotation(key), []))
})

describe('with a configured role key,', () => {
  const roleKey = 'example.com/iam-role'
  it('misspelt forms of it are warned about, and the key of kube2iam is left alone', () => {
    assert.match(
      ofAnnotation('example.com/iam-rol', 'pod', roleKey)[0] ?? '',
      /did you mean example\.com\/iam-role\?/,
    )
    assert.match(ofAnnotation('pod2iam.dev/iam-role', 'pod', roleKey)[0] ?? '', /example\.com\/iam-role\?/)
    for (const key of [roleKey, KEYS.role, 'example.com/owner', 'example.com/cost-centre'])
      assert.deepEqual(ofAnnotation(key, 'pod', roleKey), [])
  })
  it('its misspelt forms are left alone where it has no prefix', () => {
    assert.deepEqual(ofAnnotation('iamrol', 'pod', 'iamrole'), [])
    assert.deepEqual(ofAnnotation('iamrole', 'pod', 'iamrole'), [])
  })
})

describe('each key of ours', () => {
  const labels: readonly string[] = [KEYS.injection, KEYS.hostNetwork, KEYS.injected]
  for (const key of Object.values(KEYS))
    it(`${key} causes no warning on a pod or on a namespace`, () => {
      const of = labels.includes(key) ? ofLabel : ofAnnotation
      const places = [of(key, 'pod'), of(key, 'namespace')]
      assert.ok(places.some((warnings) => warnings.length === 0))
      for (const [warning] of places) assert.doesNotMatch(warning ?? '', /means nothing/)
    })
})

describe('a key of ours is warned about where it has no effect', () => {
  for (const [warnings, expected] of [
    [ofAnnotation(KEYS.allowedRoles), /allowed-roles has no effect on a pod: it belongs on the namespace/],
    [ofAnnotation(KEYS.role, 'namespace'), /role has no effect on a namespace: it belongs on pods/],
    [
      ofLabel(KEYS.injection),
      /label pod2iam\.dev\/injection has no effect on a pod: it belongs on the namespace/,
    ],
    [ofAnnotation(KEYS.injection, 'namespace'), /no effect as an annotation: write it as a label/],
    [ofLabel(KEYS.inject), /inject has no effect as a label: write it as an annotation/],
    [ofLabel('pod2iam.dev/injecton', 'namespace'), /did you mean pod2iam\.dev\/injection\?/],
    [
      ofAnnotation('iam.amazonaws.com/allowed-role', 'namespace'),
      /mean iam\.amazonaws\.com\/allowed-roles\?/,
    ],
    [ofAnnotation('iam.amazonaws.com/permitted-roles', 'namespace'), /mean iam\.amazonaws\.com\/permitted\?/],
    [ofAnnotation('pod2iam.dev/injecton', 'namespace'), /mean the label pod2iam\.dev\/injection\?/],
    [ofAnnotation('pod2iam.dev/allowed-roles', 'namespace'), /mean iam\.amazonaws\.com\/allowed-roles\?/],
  ] as const)
    it(String(expected), () => {
      assert.equal(warnings.length, 1)
      assert.match(warnings[0] ?? '', expected)
    })

  it('on a workload, unless its template has the key, too', () => {
    const role = { annotations: { [KEYS.role]: 'x', team: 'y' }, labels: {} }
    const none = { annotations: {}, labels: {} }
    assert.deepEqual(workloadMetadataWarnings(role, none, KEYS.role), [
      `annotation ${KEYS.role} has no effect on the workload itself: write it into the template of its pods, spec.template.metadata.annotations`,
    ])
    assert.deepEqual(workloadMetadataWarnings(role, role, KEYS.role), [])
    const misspelt = { annotations: { 'iam.amazonaws.com/rol': 'x' }, labels: {} }
    assert.match(workloadMetadataWarnings(misspelt, none, KEYS.role)[0] ?? '', /did you mean/)
    assert.deepEqual(workloadMetadataWarnings(misspelt, misspelt, KEYS.role), [])
  })
})

describe('the value of a pod’s annotation', () => {
  for (const [key, value, meant] of [
    [KEYS.inject, 'flase', 'false'],
    [KEYS.inject, 'False', 'false'],
    [KEYS.inject, 'metdata', 'metadata'],
    [KEYS.redirect, 'nfs', 'nft'],
    [KEYS.imdsTokens, 'require', 'required'],
    [KEYS.startupGate, 'ON', 'on'],
    [KEYS.logLevel, 'debg', 'debug'],
  ] as const)
    it(`${key}: ${value} is warned about, with the suggestion ${meant}`, () => {
      const [warning = ''] = podValues({ [key]: value })
      assert.ok(warning.startsWith(`annotation ${key} must be "`), warning)
      assert.ok(warning.endsWith(`not "${value}": did you mean "${meant}"?`), warning)
    })
  it('that resembles no valid one is warned about with the valid ones', () => {
    assert.deepEqual(podValues({ [KEYS.inject]: 'yes please' }), [
      'annotation pod2iam.dev/inject must be "false" or "metadata", not "yes please"',
    ])
  })
  it('that is valid causes no warning', () => {
    assert.deepEqual(podValues({ [KEYS.inject]: 'false', [KEYS.redirect]: 'env', team: 'x' }), [])
  })
})

describe('a namespace', () => {
  const said = (
    labels: Record<string, string>,
    annotations: Record<string, string> = {},
    restrictions = true,
  ) =>
    namespaceValues(namespace({ labels, annotations }), {
      ...settings(),
      policy: { ...settings().policy, restrictions },
    })
  for (const [value, meant] of [
    ['enable', 'enabled'],
    ['Enabled', 'enabled'],
    ['enalbed', 'enabled'],
    ['true', 'enabled'],
    ['ALL', 'all'],
  ] as const)
    it(`labelled ${value} is warned about, with the suggestion ${meant}`, () => {
      assert.deepEqual(said({ [KEYS.injection]: value }), [
        `label pod2iam.dev/injection is "${value}", and only "enabled" and "all" opt a namespace in: did you mean "${meant}"?`,
      ])
    })
  it('with another label value is warned about with the valid ones', () => {
    assert.match(
      said({ [KEYS.injection]: 'sometimes' })[0] ?? '',
      /only "enabled" and "all" opt a namespace in$/,
    )
  })
  for (const value of ['enabled', 'all', 'disabled', 'false', ''])
    it(`labelled ${JSON.stringify(value)} causes no warning`, () =>
      assert.deepEqual(said({ [KEYS.injection]: value }), []))

  it('that allows pods on the host network causes a warning only if the value is invalid', () => {
    assert.deepEqual(said({ [KEYS.hostNetwork]: 'allowed' }), [])
    assert.deepEqual(said({ [KEYS.hostNetwork]: 'allow' }), [
      'label pod2iam.dev/host-network must be "allowed", not "allow": did you mean "allowed"?',
    ])
  })

  for (const [key, value, expected] of [
    [KEYS.allowedRoles, 'reader', /is not a JSON array of at most 256 strings, so nothing is allowed$/],
    [KEYS.allowedRoles, '["a",', /is not a JSON array/],
    [KEYS.permitted, '(', /is not a regexp .*, so nothing is allowed$/],
    [KEYS.permitted, '', /is empty, so nothing is allowed/],
    [KEYS.allowedExternalIds, 'partner', /is not a JSON array of strings, so no external id is allowed/],
    [KEYS.redirect, 'nfs', /redirect must be "nft" or "env", not "nfs": did you mean "nft"\?/],
    [KEYS.defaultRole, 'a b', /default-role: the role contains white space/],
    [
      KEYS.defaultRole,
      'reader',
      /has an effect only where label pod2iam\.dev\/injection is "all"; here it is "enabled"/,
    ],
  ] as const)
    it(`whose ${key} is ${JSON.stringify(value)} causes one warning`, () => {
      const warnings = said({ [KEYS.injection]: 'enabled' }, { [key]: value })
      assert.equal(warnings.length, 1)
      assert.match(warnings[0] ?? '', expected)
    })
  it('with valid annotations causes no warning, nor one with an invalid list that is not used', () => {
    const annotations = {
      [KEYS.allowedRoles]: '["shop-*"]',
      [KEYS.permitted]: 'arn:aws:iam::111111111111:role/.*',
      [KEYS.allowedExternalIds]: '["partner"]',
      [KEYS.defaultRole]: 'reader',
      [KEYS.redirect]: 'env',
    }
    assert.deepEqual(said({ [KEYS.injection]: 'all' }, annotations), [])
    assert.deepEqual(said({ [KEYS.injection]: 'all' }, { [KEYS.allowedRoles]: 'reader' }, false), [])
  })
})

describe('the cost of objects with many annotations', () => {
  const many = (name: (index: number) => string) =>
    Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [name(index), '']))

  for (const [what, name] of [
    ['keys that are nearly ours', (index: number) => `iam.amazonaws.com/session-x${index}`],
    [
      'prefixes that are nearly ours',
      (index: number) => `iam.amazonaws.${index.toString(36).padStart(3, 'a')}/x`,
    ],
    ['other keys', (index: number) => `example.com/${index}`],
  ] as const)
    it(`is bounded for 10,000 ${what}`, () => {
      const annotations = many(name)
      misspeltKeys({ annotations, labels: {} }, 'pod', KEYS.role)
      const start = process.cpuUsage()
      assert.deepEqual(misspeltKeys({ annotations, labels: {} }, 'pod', KEYS.role), [])
      const { user, system } = process.cpuUsage(start)
      // It is 10 ms on an idle machine; without the bound it was 150.
      assert.ok(user + system < 75_000, `${(user + system) / 1000} ms`)
    })

  it('is at most ten warnings', () => {
    const all = many((index) => `pod2iam.dev/x${index}`)
    assert.equal(misspeltKeys({ annotations: all, labels: all }, 'pod', KEYS.role).length, 10)
  })
})
