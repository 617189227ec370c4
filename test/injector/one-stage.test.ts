/**
 * Pods without a gate, whose sidecar has the start hook: what the webhooks recognize as one, and what happens to a pod that one
 * replica has written in one stage and another in two.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
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

type Init = Dict & { name: string; env: { name: string; value: string }[] }
type Injected = { spec: Dict & { initContainers: Init[]; containers: Dict[] } }

const HOOK = { postStart: { exec: { command: ['/pod2iam/wait-started'] } } }
const ONE = settings()
const TWO = settings({ start: 'two-stage' })

function injected(by = ONE, spec: Dict = {}, annotations: Dict = {}): Injected {
  const given = pod(spec, { [KEYS.redirect]: 'env', ...(annotations as Record<string, string>) })
  const patched = applyPatch(given, opsOf(decide(given, namespace(), by)))
  return withApiServerDefaults(patched) as unknown as Injected
}

function changed(change: (sidecar: Init, pod: Injected) => void, start = injected()): Injected {
  const copy = structuredClone(start)
  const [sidecar] = copy.spec.initContainers.filter(({ name }) => name === 'pod2iam-sidecar')
  change(sidecar ?? assert.fail('no sidecar'), copy)
  return copy
}

const setEnv = (sidecar: Init, name: string, value: string | undefined) => {
  const others = sidecar.env.filter((one) => one.name !== name)
  sidecar.env = value === undefined ? others : [...others, { name, value }]
}

function judged(given: unknown, by = ONE): string {
  const verdict = decideFinal(given, namespace(), by)
  return 'sentence' in verdict ? verdict.sentence : verdict.reason
}

const names = ({ spec }: Injected) => spec.initContainers.map(({ name }) => name)

describe('a pod that was injected in one stage', () => {
  for (const [who, by] of [
    ['the replica that wrote it', ONE],
    ['a replica that writes two stages', TWO],
    ['a replica in audit mode', settings({ gateProof: 'report' })],
  ] as const)
    it(`is admitted by ${who}`, () => assert.equal(judged(injected(), by), 'already-injected'))

  it('is admitted with the variables of a later release and with null fields in its hook', () => {
    const later = changed((sidecar) => {
      setEnv(sidecar, 'POD2IAM_LATER', 'x')
      sidecar.lifecycle = {
        preStop: null,
        postStart: { httpGet: null, exec: { command: ['/pod2iam/wait-started'] } },
      }
    })
    assert.equal(judged(later), 'already-injected')
    assert.equal(
      judged(changed((sidecar) => setEnv(sidecar, 'POD2IAM_ACCEPT_DROP', 'true'))),
      'already-injected',
    )
    assert.equal(judged(changed((sidecar) => setEnv(sidecar, 'POD2IAM_PROOF', 'report'))), 'already-injected')
  })

  for (const [what, says, change] of [
    ['removed its hook', /it has no init container pod2iam-gate/, (one) => delete one.lifecycle],
    ['removed its proof', /env POD2IAM_PROOF is missing/, (one) => setEnv(one, 'POD2IAM_PROOF', undefined)],
    ['turned its proof off', /\(env POD2IAM_PROOF\)/, (one) => setEnv(one, 'POD2IAM_PROOF', 'off')],
    [
      'removed its started file',
      /env POD2IAM_STARTED_FILE is missing/,
      (one) => setEnv(one, 'POD2IAM_STARTED_FILE', undefined),
    ],
    [
      'set another started file',
      /\(env POD2IAM_STARTED_FILE\)/,
      (one) => setEnv(one, 'POD2IAM_STARTED_FILE', '/dev/null'),
    ],
    [
      'set accept-drop to an unknown value',
      /\(env POD2IAM_ACCEPT_DROP\)/,
      (one) => setEnv(one, 'POD2IAM_ACCEPT_DROP', 'maybe'),
    ],
    [
      'made its self-test wait for a redirect, which a pod without a gate does not have',
      /waits for a redirect, and it has no init container pod2iam-gate/,
      (one) => setEnv(one, 'POD2IAM_SELF_TEST', 'redirect'),
    ],
    ['added hostIPC', /it has hostIPC, and it has no init container/, (_, { spec }) => (spec.hostIPC = true)],
    [
      'mounted a volume over its started file',
      /volumeMounts "\/dev\/shm"/,
      (one) => (one.volumeMounts = [...(one.volumeMounts as Dict[]), { name: 'x', mountPath: '/dev/shm' }]),
    ],
  ] as readonly [string, RegExp, (sidecar: Init, pod: Injected) => unknown][])
    it(`is refused where another webhook ${what}, and corrected when the injector is called again`, () => {
      const given = changed(change)
      assert.match(judged(given), says)
      const again = applyPatch(given, opsOf(decide(given, namespace(), ONE)))
      assert.equal(judged(again), 'already-injected')
    })

  it('gets the proof of the present settings, whatever a copied manifest or another replica wrote', () => {
    const lax = changed((sidecar) => {
      setEnv(sidecar, 'POD2IAM_PROOF', 'report')
      setEnv(sidecar, 'POD2IAM_ACCEPT_DROP', 'true')
    })
    const again = applyPatch(lax, opsOf(decide(lax, namespace(), ONE)))
    const env = new Map(again.spec.initContainers[0]?.env.map(({ name, value }) => [name, value]))
    assert.deepEqual([env.get('POD2IAM_PROOF'), env.has('POD2IAM_ACCEPT_DROP')], ['enforce', false])
  })

  for (const [what, lifecycle] of [
    ['runs another program', { postStart: { exec: { command: ['/pod2iam/other'] } } }],
    ['has an argument', { postStart: { exec: { command: ['/pod2iam/wait-started', 'x'] } } }],
    ['is of another kind', { postStart: { sleep: { seconds: 1 } } }],
    ['has a second handler', { postStart: { ...HOOK.postStart, httpGet: { port: 1 } } }],
    ['has a preStop hook beside it', { ...HOOK, preStop: { sleep: { seconds: 1 } } }],
    ['has a stop signal beside it', { ...HOOK, stopSignal: 'SIGKILL' }],
  ] as const)
    it(`is refused by either webhook with a hook that ${what}`, () => {
      for (const start of [injected(), injected(TWO)]) {
        const given = changed((sidecar) => {
          sidecar.lifecycle = lifecycle
        }, start)
        assert.match(judged(given), /none of the injector's \("lifecycle"\)/)
        assert.match(JSON.stringify(decide(given, namespace(), ONE)), /none of the injector's/)
      }
    })
})

describe('a pod with a gate', () => {
  for (const [what, says, change] of [
    ['the hook', /\(lifecycle\)/, (one) => (one.lifecycle = HOOK)],
    ['a proof', /\(env POD2IAM_PROOF\)/, (one) => setEnv(one, 'POD2IAM_PROOF', 'enforce')],
    [
      'a started file',
      /\(env POD2IAM_STARTED_FILE\)/,
      (one) => setEnv(one, 'POD2IAM_STARTED_FILE', '/dev/shm/pod2iam-started'),
    ],
    ['accept-drop', /\(env POD2IAM_ACCEPT_DROP\)/, (one) => setEnv(one, 'POD2IAM_ACCEPT_DROP', 'true')],
  ] as readonly [string, RegExp, (sidecar: Init) => unknown][])
    it(`is refused where its sidecar has ${what}, too, and corrected when the injector is called again`, () => {
      const given = changed(change, injected(TWO))
      assert.match(judged(given), says)
      const again = applyPatch(given, opsOf(decide(given, namespace(), TWO)))
      assert.equal(judged(again), 'already-injected')
      assert.deepEqual(names(again), ['pod2iam-sidecar', 'pod2iam-gate'])
      assert.equal(again.spec.initContainers[0]?.lifecycle, undefined)
    })
  it('is refused where the gate has the hook', () => {
    const given = injected(TWO)
    const gate = given.spec.initContainers[1] ?? assert.fail()
    gate.lifecycle = HOOK
    assert.match(judged(given), /init container pod2iam-gate is none of the injector's/)
  })
})

describe('a pod that a replica with another setting mutated', () => {
  const others = { initContainers: [{ name: 'istio-init' }, { name: 'migrate', image: 'm' }] }
  for (const [what, spec, before, after] of [
    ['without other init containers', {}, [], []],
    ['behind a mesh', others, ['istio-init'], ['migrate']],
  ] as const)
    for (const [way, first, second, ours] of [
      ['one stage becomes two', ONE, TWO, ['pod2iam-sidecar', 'pod2iam-gate']],
      ['two stages become one', TWO, ONE, ['pod2iam-sidecar']],
    ] as const)
      it(`is rewritten when the webhook is called again: ${way}, ${what}`, () => {
        const once = injected(first, spec)
        const twice = applyPatch(once, opsOf(decide(once, namespace(), second)))
        assert.deepEqual(names(twice), [...before, ...ours, ...after])
        // It equals exactly what that replica would have written at the first call.
        assert.deepEqual(
          withApiServerDefaults(twice).spec.initContainers,
          injected(second, spec).spec.initContainers,
        )
        for (const by of [first, second]) assert.equal(judged(twice, by), 'already-injected')
        assert.deepEqual(opsOf(decide(withApiServerDefaults(twice), namespace(), second)), [])
        const back = applyPatch(twice, opsOf(decide(twice, namespace(), first)))
        assert.deepEqual(withApiServerDefaults(back).spec.initContainers, once.spec.initContainers)
      })

  it('gets its sidecar moved to the front, and its gate removed wherever it is', () => {
    const given = injected(TWO)
    const [sidecar, gate] = given.spec.initContainers
    given.spec.initContainers = [gate, { name: 'early', env: [] }, sidecar] as Init[]
    const again = applyPatch(given, opsOf(decide(given, namespace(), ONE)))
    assert.deepEqual(names(again), ['pod2iam-sidecar', 'early'])
    assert.equal(judged(again), 'already-injected')
  })
})

it('an init container that another webhook put first is named in a warning, which does not mention a gate that does not exist', () => {
  const given = injected()
  given.spec.initContainers.unshift({ name: 'restore', image: 'r', env: [] })
  const verdict = decideFinal(given, namespace(), ONE)
  assert.deepEqual(verdict.kind === 'allow' && verdict.warnings, [
    'init container "restore" starts before pod2iam-sidecar, so it has no credentials: another webhook put it there after the injector',
  ])
})
