/**
 * Two replicas with different settings serve at the same time in every rolling upgrade and rollback: the other one must accept what
 * one of them has added, whichever value was changed (docs/decisions/0099).
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { variableNames } from '../../common/settings.ts'
import { KNOWN } from '../../injector/form/environment.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { GATE_SETTINGS } from '../../node-guard/firewall/gate/settings.ts'
import { SPEC as SIDECAR_SETTINGS } from '../../sidecar/settings.ts'
import {
  applyPatch,
  type Dict,
  decide,
  decideFinal,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'

const ROLE_KEY = 'example.com/role'
const OTHER = 'mirror.example.com/pod2iam'
/** Every setting that changes what is injected, with another value than the default. */
const CHANGES: Readonly<Record<string, Partial<InjectionSettings>>> = {
  'IMDSv2 required': { imdsTokens: 'required' },
  'redirect env': { redirect: 'env' },
  'two stages in every pod': { start: 'two-stage' },
  'redirect env in two stages': { redirect: 'env', start: 'two-stage' },
  'audit mode': { gateProof: 'report' },
  'accept-drop': { gateAcceptDrop: true },
  'no startup gate': { startupGate: 'off' },
  'log level': { sidecarLogLevel: 'debug' },
  'pull policy': { imagePullPolicy: 'Always' },
  'tokens of an hour': { tokenExpirationSeconds: 3600 },
  resources: {
    resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { cpu: '1', memory: '64Mi' } },
  },
  'another release': {
    sidecarImage: 'ghcr.io/pod2iam/sidecar:0.2.0',
    nodeGuardImage: 'ghcr.io/pod2iam/node-guard:0.2.0',
  },
  'images by digest': {
    sidecarImage: `ghcr.io/pod2iam/sidecar@sha256:${'ab'.repeat(32)}`,
    nodeGuardImage: `ghcr.io/pod2iam/node-guard@sha256:${'cd'.repeat(32)}`,
  },
  'another registry': { sidecarImage: `${OTHER}/sidecar:0.1.0`, nodeGuardImage: `${OTHER}/node-guard:0.1.0` },
  'another role key': { roleKey: ROLE_KEY },
  'a default role': { defaultRole: 'arn:aws:iam::111111111111:role/shop-default' },
  'all of these': {
    ...{ imdsTokens: 'required', redirect: 'env', gateProof: 'report', gateAcceptDrop: true },
    ...{ startupGate: 'off', sidecarLogLevel: 'error', tokenExpirationSeconds: 600, roleKey: ROLE_KEY },
    sidecarImage: `${OTHER}/sidecar:7`,
    nodeGuardImage: `${OTHER}/node-guard:7`,
  },
}
const ROLE = 'arn:aws:iam::111111111111:role/shop-orders'
const GUARANTEED = {
  containers: [{ name: 'app', resources: { limits: { cpu: '1', memory: '1Gi' } } }],
  restartPolicy: 'Never',
}
/** Pods that ask in each way that both replicas understand. */
const PODS: Readonly<Record<string, Dict>> = {
  'with a role': pod({}, { [ROLE_KEY]: ROLE }),
  'with an external id and a session name': pod(
    {},
    { [ROLE_KEY]: ROLE, [KEYS.externalId]: 'x1', [KEYS.sessionName]: 's' },
  ),
  'for metadata only': pod({}, { [KEYS.inject]: 'metadata', [KEYS.role]: undefined }),
  'with options': pod(
    {},
    { [ROLE_KEY]: ROLE, [KEYS.redirect]: 'env', [KEYS.logLevel]: 'warn', [KEYS.imdsTokens]: 'required' },
  ),
  'that is Guaranteed and never restarted': pod(GUARANTEED, { [ROLE_KEY]: ROLE }),
  'beside a mesh': pod({ initContainers: [{ name: 'istio-init' }, { name: 'own' }] }, { [ROLE_KEY]: ROLE }),
}

/** The settings of a replica together with what it knows about the other one, see `peers.ts`. */
function besides(own: InjectionSettings, other: InjectionSettings): InjectionSettings {
  return {
    ...own,
    otherRoleKeys: own.roleKey === other.roleKey ? [] : [other.roleKey],
    otherSidecarImages: [other.sidecarImage],
    otherNodeGuardImages: [other.nodeGuardImage],
  }
}

function judged(given: Dict, by: InjectionSettings) {
  return decideFinal(given, namespace(), by)
}

for (const [what, change] of Object.entries(CHANGES))
  for (const [direction, before, after] of [
    ['upgrade', settings(), settings(change)],
    ['rollback', settings(change), settings()],
  ] as const)
    describe(`${what}, ${direction}`, () => {
      const [one, two] = [besides(before, after), besides(after, before)]
      for (const [kind, given] of Object.entries(PODS))
        it(`a pod ${kind} is injected by one replica, accepted by the other, and corrected by it in another pass`, () => {
          const added = withApiServerDefaults(applyPatch(given, opsOf(decide(given, namespace(), one))))
          const verdict = judged(added, two)
          assert.equal(verdict.reason, 'already-injected', 'sentence' in verdict ? verdict.sentence : '')
          // With reinvocation, the second pass may go to the other replica, and the verdict to the first one again.
          const twice = applyPatch(added, opsOf(decide(added, namespace(), two)))
          for (const by of [one, two]) assert.equal(judged(twice, by).reason, 'already-injected')
          assert.deepEqual(opsOf(decide(twice, namespace(), two)), [])
        })

      for (const key of [KEYS.role, ROLE_KEY].filter(() => 'roleKey' in change))
        it(`a pod that names its role only with ${key} gets it from either replica`, () => {
          const given = pod({}, { [KEYS.role]: undefined, [key]: ROLE })
          for (const [first, second] of [
            [one, two],
            [two, one],
          ] as const) {
            const added = applyPatch(given, opsOf(decide(given, namespace(), first)))
            assert.match(JSON.stringify(added), /POD2IAM_ROLE.*shop-orders/)
            assert.equal(judged(added, second).reason, 'already-injected')
          }
        })
    })

describe('the accepted form of our containers', () => {
  it('has a rule for every variable of the sidecar', () => {
    for (const name of variableNames(SIDECAR_SETTINGS))
      assert.ok(KNOWN['pod2iam-sidecar'].includes(name), name)
  })

  it('has a rule for every variable of the gate', () => {
    assert.deepEqual([...KNOWN['pod2iam-gate']].sort(), variableNames(GATE_SETTINGS).sort())
  })

  const injected = () =>
    withApiServerDefaults(applyPatch(pod(), opsOf(decide(pod(), namespace(), settings())))) as unknown as {
      spec: { initContainers: { env: Dict[]; args: string[]; image: string }[] }
    }

  it('allows variables and arguments of a later release, but no value that this one knows to be wrong', () => {
    for (const [container, name, value, expected] of [
      [0, 'POD2IAM_LATER', 'x', true],
      [0, 'POD2IAM_LATER', '$(POD2IAM_ROLE)', false],
      [0, 'POD2IAM_LOG_LEVEL', 'loud', false],
      [0, 'POD2IAM_TOKEN_FILE', '/etc/passwd', false],
      [0, 'pod2iam_later', 'x', false],
      [1, 'POD2IAM_LATER', 'x', true],
      [1, 'POD2IAM_METADATA_ADDRESS', '10.0.0.1', false],
      [1, 'POD2IAM_ACCEPT_DROP', 'true', false],
      [1, 'POD2IAM_PROOF_TIMEOUT', '1s', false],
    ] as const) {
      const given = injected()
      const env = given.spec.initContainers[container]?.env ?? assert.fail()
      given.spec.initContainers[container] = {
        ...(given.spec.initContainers[container] as { args: string[]; image: string }),
        env: [...env.filter((entry) => entry.name !== name), { name, value }],
      }
      assert.equal(
        judged(given as never, settings()).reason === 'already-injected',
        expected,
        `${name}=${value}`,
      )
    }
    for (const [argument, expected] of [
      ['--later=x', true],
      ['--later', true],
      ['--proof=report', false],
      ['--proof=off', false],
      ['--accept-drop', true],
      ['--accept-drop=true', false],
      ['--metadata-address=10.0.0.1', false],
      ['--proof-timeout=1s', false],
      ['--restart-policy=Never', false],
      ['status', false],
      ['-e', false],
      ['--later=$(X)', false],
    ] as const) {
      const given = injected()
      given.spec.initContainers[1]?.args.push(argument)
      assert.equal(judged(given as never, settings()).reason === 'already-injected', expected, argument)
    }
  })
})
