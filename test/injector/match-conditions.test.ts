/** The shipped match conditions, which decide for which objects the API server calls the injector at all. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { ACCOUNT_ROLE_KEY, KEYS } from '../../common/keys.ts'
import { assertSameVerdicts, type Case, needsCel } from '../chart/kube-cel.ts'
import { evaluate } from '../sandbox/kube/admission/match-conditions.ts'
import { type Dict, ROLE } from './fixtures.ts'

const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)

type Webhook = { name: string; matchConditions: { name: string; expression: string }[] }

function conditionsOf(file: string, name: string) {
  const { webhooks } = parse(readFileSync(new URL(file, FILES), 'utf8')) as { webhooks: Webhook[] }
  const { matchConditions } = webhooks.find((one) => one.name === name) ?? assert.fail(`no ${name}`)
  return matchConditions
}

const ENTRIES = {
  enabled: conditionsOf('webhooks.yaml', 'pods.pod2iam.dev'),
  all: conditionsOf('webhooks.yaml', 'pods-all.pod2iam.dev'),
  finalEnabled: conditionsOf('validating-webhooks.yaml', 'final-pods.pod2iam.dev'),
  finalAll: conditionsOf('validating-webhooks.yaml', 'final-pods-all.pod2iam.dev'),
}

const TYPO = 'iam.amazonaws.com/rol'
const PLAIN = [{ name: 'app' }]
const ours = (name: string) => [{ name: 'x' }, { name }]
/** The API server sends absent, null and empty lists, too. */
const SPECS: readonly [spec: Dict | undefined, reserved: boolean][] = [
  [undefined, false],
  [{}, false],
  [{ containers: null, initContainers: null, volumes: null }, false],
  [{ containers: [], initContainers: [], volumes: [] }, false],
  [{ containers: PLAIN, initContainers: PLAIN, volumes: PLAIN }, false],
  [{ containers: PLAIN, initContainers: ours('my-pod2iam-sidecar') }, false],
  [{ containers: PLAIN, initContainers: ours('pod2iam-sidecar') }, true],
  [{ containers: ours('pod2iam-gate'), initContainers: null }, true],
  [{ containers: null, volumes: ours('pod2iam-token') }, true],
]
const ANNOTATIONS: readonly [annotations: Dict | null | undefined, asks: boolean, optsOut: boolean][] = [
  [undefined, false, false],
  [{}, false, false],
  [{ [KEYS.role]: ROLE }, true, false],
  [{ [KEYS.inject]: 'metadata' }, true, false],
  [{ [KEYS.inject]: 'false' }, false, true],
  [{ [KEYS.role]: ROLE, [KEYS.inject]: 'false' }, true, true],
]

/** The cases of this file, which the API server's own CEL evaluates at the end. */
const asked: Case[] = []
const outcomeOf = (
  matchConditions: (typeof ENTRIES)['all'],
  object: Dict,
  [group, kind] = ['', 'Pod'],
  oldObject?: Dict,
): string => {
  const admission = { object: object as never, oldObject: oldObject as never }
  const request = {
    operation: oldObject === undefined ? 'CREATE' : 'UPDATE',
    kind: { group, version: 'v1', kind },
  }
  asked.push({ judge: { name: kind, matchConditions }, admission, request, namespace: undefined })
  return evaluate(matchConditions, admission, request).outcome
}

describe('the match condition for workloads', () => {
  const conditions = conditionsOf('validating-webhooks.yaml', 'workloads.pod2iam.dev')
  for (const [annotations, expected] of [
    [undefined, 'no-match'],
    [{}, 'no-match'],
    [{ team: 'shop' }, 'no-match'],
    [{ [KEYS.role]: ROLE }, 'match'],
    [{ [KEYS.inject]: 'metadata' }, 'match'],
    [{ [TYPO]: ROLE }, 'match'],
  ] as const)
    it(`evaluates to ${expected} for a template with ${JSON.stringify(annotations)}`, () => {
      const template = { metadata: annotations === undefined ? undefined : { annotations }, spec: {} }
      const metadata = { name: 'x' }
      const deployment = {
        kind: 'Deployment',
        metadata,
        spec: { template: JSON.parse(JSON.stringify(template)) },
      }
      assert.equal(outcomeOf(conditions, deployment, ['apps', 'Deployment']), expected)
      const jobTemplate = { spec: { template: JSON.parse(JSON.stringify(template)) } }
      const job = { kind: 'CronJob', metadata, spec: { jobTemplate } }
      assert.equal(outcomeOf(conditions, job, ['batch', 'CronJob']), expected)
    })
})

/** Keys that the conditions for warnings must match, and keys of other programs that they must not. */
const LIKE_OURS = [
  ...[
    TYPO,
    'iam.amazonaws.com/external-id',
    'iam.amazonaw.com/role',
    'iam.amazon.com/role',
    'ima.amazonaws.com/role',
  ],
  ...[
    'IAM.amazonaws.com/role',
    'pod2iam.dev/redirct',
    'pod2iam.io/inject',
    'pod2aim.dev/inject',
    'podiam.dev/inject',
  ],
  ...['pod2iam/redirect', 'pd2iam.dev/inject', 'pod-2iam.dev/x'],
]
const OTHERS = [
  ...[
    'team',
    'eks.amazonaws.com/fargate-profile',
    'vpc.amazonaws.com/pod-ips',
    'iam.gke.io/gcp-service-account',
  ],
  ...[
    'app.kubernetes.io/name',
    'kubectl.kubernetes.io/last-applied-configuration',
    'podman.io/iam',
    'role',
    '',
  ],
]
const EVERY = [
  ...LIKE_OURS.map((key) => [key, 'match'] as const),
  ...OTHERS.map((key) => [key, 'no-match'] as const),
]

describe('the match conditions for warnings', () => {
  const barePods = conditionsOf('validating-webhooks.yaml', 'bare-pod-warnings.pod2iam.dev')
  const namespaces = conditionsOf('validating-webhooks.yaml', 'namespace-warnings.pod2iam.dev')
  const workloads = conditionsOf('validating-webhooks.yaml', 'workloads.pod2iam.dev')
  const forms = ['annotations', 'labels'] as const
  const spec = { template: { metadata: {}, spec: {} } }
  const ofNamespace = (metadata: Dict, oldMetadata?: Dict) =>
    outcomeOf(namespaces, { metadata }, ['', 'Namespace'], oldMetadata && { metadata: oldMetadata })

  for (const [key, expected] of EVERY)
    it(`evaluate to ${expected} for ${JSON.stringify(key)}`, () => {
      for (const form of forms) {
        const metadata = { name: 'x', [form]: { team: 'y', [key]: 'x' } }
        assert.equal(outcomeOf(barePods, { metadata }), expected)
        assert.equal(ofNamespace(metadata), expected)
        const above = { kind: 'Deployment', metadata, spec }
        assert.equal(outcomeOf(workloads, above, ['apps', 'Deployment']), expected)
      }
    })

  it('do not match the pods of controllers', () => {
    const ownerReferences = [
      { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'x', uid: 'y', controller: true },
    ]
    const metadata = { name: 'x', annotations: { [TYPO]: 'x' } }
    assert.equal(outcomeOf(barePods, { metadata: { ...metadata, ownerReferences } }), 'no-match')
    assert.equal(outcomeOf(barePods, { metadata: { ...metadata, ownerReferences: [] } }), 'match')
  })

  it('match a namespace when such a key is added or changed, not at every update', () => {
    for (const form of forms) {
      const marked = (value: string, more: Dict = {}) => ({ name: 'x', [form]: { [TYPO]: value, ...more } })
      assert.equal(ofNamespace(marked('x'), marked('x')), 'no-match')
      assert.equal(ofNamespace(marked('x', { team: 'y' }), marked('x')), 'no-match')
      assert.equal(ofNamespace(marked('y'), marked('x')), 'match')
      assert.equal(ofNamespace(marked('x'), { name: 'x' }), 'match')
      // A key that was corrected or removed needs no warning.
      assert.equal(ofNamespace({ name: 'x', [form]: { team: 'y' } }, marked('x')), 'no-match')
    }
  })
})

describe('the match conditions for service accounts', () => {
  const lists = conditionsOf('validating-webhooks.yaml', 'service-account-lists.pod2iam.dev')
  const roles = conditionsOf('validating-webhooks.yaml', 'service-account-warnings.pod2iam.dev')
  const list = { [KEYS.allowedRoles]: '[]' }
  const role = { [ACCOUNT_ROLE_KEY]: ROLE }
  for (const [annotations, ofList, ofRole] of [
    [undefined, 'no-match', 'no-match'],
    [{}, 'no-match', 'no-match'],
    [{ [KEYS.role]: ROLE, team: 'shop' }, 'no-match', 'no-match'],
    [list, 'match', 'no-match'],
    [role, 'no-match', 'match'],
    [{ ...list, ...role }, 'match', 'no-match'],
  ] as const)
    it(`evaluate to ${ofList} and ${ofRole} for ${JSON.stringify(annotations)}`, () => {
      const account = { metadata: { name: 'x', ...(annotations && { annotations }) } }
      for (const before of [undefined, { metadata: { name: 'x' } }]) {
        assert.equal(outcomeOf(lists, account, ['', 'ServiceAccount'], before), ofList)
        assert.equal(outcomeOf(roles, account, ['', 'ServiceAccount'], before), ofRole)
      }
    })
})

describe('the match conditions', () => {
  for (const [spec, reserved] of SPECS)
    for (const [annotations, asks, optsOut] of ANNOTATIONS)
      it(`judge ${JSON.stringify({ annotations, spec })} without an error`, () => {
        const object = { metadata: annotations === undefined ? {} : { annotations }, ...(spec && { spec }) }
        const outcome = (matches: boolean) => (matches ? 'match' : 'no-match')
        assert.deepEqual(
          {
            enabled: outcomeOf(ENTRIES.enabled, object),
            all: outcomeOf(ENTRIES.all, object),
            finalEnabled: outcomeOf(ENTRIES.finalEnabled, object),
            finalAll: outcomeOf(ENTRIES.finalAll, object),
          },
          {
            enabled: outcome(reserved || (asks && !optsOut)),
            all: outcome(reserved || !optsOut),
            finalEnabled: outcome(reserved || (asks && !optsOut)),
            finalAll: outcome(reserved || !optsOut),
          },
        )
      })
})

it('the API server’s own CEL gives the same results', needsCel, () => {
  assert.ok(asked.length > 200, `${asked.length}`)
  assertSameVerdicts(asked)
})
