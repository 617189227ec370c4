/**
 * Pods without a gate, whose sidecar has the start hook: what the webhooks take for one, and what becomes of a pod that one replica
 * has written in one stage and another in two.
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
    ['one that writes two stages', TWO],
    ['one in audit mode', settings({ gateProof: 'report' })],
  ] as const)
    it(`is admitted by ${who}`, () => assert.equal(judged(injected(), by), 'already-injected'))

  it('is admitted with a later release’s variables, and with blanks where others serialize them', () => {
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
    ['its hook', /it has no init container pod2iam-gate/, (one) => delete one.lifecycle],
    ['its proof', /env POD2IAM_PROOF is missing/, (one) => setEnv(one, 'POD2IAM_PROOF', undefined)],
    ['its proof, which is off', /\(env POD2IAM_PROOF\)/, (one) => setEnv(one, 'POD2IAM_PROOF', 'off')],
    [
      'the file',
      /env POD2IAM_STARTED_FILE is missing/,
      (one) => setEnv(one, 'POD2IAM_STARTED_FILE', undefined),
    ],
    [
      'the file, which is another',
      /\(env POD2IAM_STARTED_FILE\)/,
      (one) => setEnv(one, 'POD2IAM_STARTED_FILE', '/dev/null'),
    ],
    [
      'what it takes for a proof',
      /\(env POD2IAM_ACCEPT_DROP\)/,
      (one) => setEnv(one, 'POD2IAM_ACCEPT_DROP', 'maybe'),
    ],
    [
      'its self-test, since nothing leads to it but a redirect that is not there',
      /waits for a redirect, and it has no init container pod2iam-gate/,
      (one) => setEnv(one, 'POD2IAM_SELF_TEST', 'redirect'),
    ],
    [
      'its IPC namespace',
      /it has hostIPC, and it has no init container/,
      (_, { spec }) => (spec.hostIPC = true),
    ],
    [
      'a mount over the file',
      /volumeMounts "\/dev\/shm"/,
      (one) => (one.volumeMounts = [...(one.volumeMounts as Dict[]), { name: 'x', mountPath: '/dev/shm' }]),
    ],
  ] as readonly [string, RegExp, (sidecar: Init, pod: Injected) => unknown][])
    it(`is refused where another webhook changed ${what}; where we are asked again it is put right`, () => {
      const given = changed(change)
      assert.match(judged(given), says)
      const again = applyPatch(given, opsOf(decide(given, namespace(), ONE)))
      assert.equal(judged(again), 'already-injected')
    })

  it('proves as the present operator says, whatever a copied manifest or another replica wrote', () => {
    const lax = changed((sidecar) => {
      setEnv(sidecar, 'POD2IAM_PROOF', 'report')
      setEnv(sidecar, 'POD2IAM_ACCEPT_DROP', 'true')
    })
    const again = applyPatch(lax, opsOf(decide(lax, namespace(), ONE)))
    const env = new Map(again.spec.initContainers[0]?.env.map(({ name, value }) => [name, value]))
    assert.deepEqual([env.get('POD2IAM_PROOF'), env.has('POD2IAM_ACCEPT_DROP')], ['enforce', false])
  })

  for (const [what, lifecycle] of [
    ['another program', { postStart: { exec: { command: ['/pod2iam/other'] } } }],
    ['an argument', { postStart: { exec: { command: ['/pod2iam/wait-started', 'x'] } } }],
    ['another kind', { postStart: { sleep: { seconds: 1 } } }],
    ['a second handler', { postStart: { ...HOOK.postStart, httpGet: { port: 1 } } }],
    ['a preStop hook beside it', { ...HOOK, preStop: { sleep: { seconds: 1 } } }],
    ['a stop signal beside it', { ...HOOK, stopSignal: 'SIGKILL' }],
  ] as const)
    it(`is refused with a hook that is ${what}, by either webhook`, () => {
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
    it(`is refused where its sidecar has ${what}, too; where we are asked again it is put right`, () => {
      const given = changed(change, injected(TWO))
      assert.match(judged(given), says)
      const again = applyPatch(given, opsOf(decide(given, namespace(), TWO)))
      assert.equal(judged(again), 'already-injected')
      assert.deepEqual(names(again), ['pod2iam-sidecar', 'pod2iam-gate'])
      assert.equal(again.spec.initContainers[0]?.lifecycle, undefined)
    })
  it('whose gate has the hook is refused', () => {
    const given = injected(TWO)
    const gate = given.spec.initContainers[1] ?? assert.fail()
    gate.lifecycle = HOOK
    assert.match(judged(given), /init container pod2iam-gate is none of the injector's/)
  })
})

describe('a pod that a replica of another setting mutated', () => {
  const others = { initContainers: [{ name: 'istio-init' }, { name: 'migrate', image: 'm' }] }
  for (const [what, spec, before, after] of [
    ['without other init containers', {}, [], []],
    ['behind a mesh', others, ['istio-init'], ['migrate']],
  ] as const)
    for (const [way, first, second, ours] of [
      ['one stage becomes two', ONE, TWO, ['pod2iam-sidecar', 'pod2iam-gate']],
      ['two stages become one', TWO, ONE, ['pod2iam-sidecar']],
    ] as const)
      it(`is put right when that webhook is asked again: ${way}, ${what}`, () => {
        const once = injected(first, spec)
        const twice = applyPatch(once, opsOf(decide(once, namespace(), second)))
        assert.deepEqual(names(twice), [...before, ...ours, ...after])
        // To the letter what that replica would have written at once.
        assert.deepEqual(
          withApiServerDefaults(twice).spec.initContainers,
          injected(second, spec).spec.initContainers,
        )
        for (const by of [first, second]) assert.equal(judged(twice, by), 'already-injected')
        assert.deepEqual(opsOf(decide(withApiServerDefaults(twice), namespace(), second)), [])
        const back = applyPatch(twice, opsOf(decide(twice, namespace(), first)))
        assert.deepEqual(withApiServerDefaults(back).spec.initContainers, once.spec.initContainers)
      })

  it('has its sidecar moved to the front, and a gate wherever it stands taken out', () => {
    const given = injected(TWO)
    const [sidecar, gate] = given.spec.initContainers
    given.spec.initContainers = [gate, { name: 'early', env: [] }, sidecar] as Init[]
    const again = applyPatch(given, opsOf(decide(given, namespace(), ONE)))
    assert.deepEqual(names(again), ['pod2iam-sidecar', 'early'])
    assert.equal(judged(again), 'already-injected')
  })
})

it('an init container that another webhook puts first is named in a warning, without a gate that is not there', () => {
  const given = injected()
  given.spec.initContainers.unshift({ name: 'restore', image: 'r', env: [] })
  const verdict = decideFinal(given, namespace(), ONE)
  assert.deepEqual(verdict.kind === 'allow' && verdict.warnings, [
    'init container "restore" starts before pod2iam-sidecar, so it has no credentials: another webhook put it there after the injector',
  ])
})
