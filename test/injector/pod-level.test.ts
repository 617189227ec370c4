/** Pods with pod-level resources: what we add must fit, and the API server must accept it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { applyPatch, type Dict, decide, decideFinal, namespace, opsOf, pod, settings } from './fixtures.ts'

const app = (resources?: Dict, more: Dict = {}) => ({
  name: 'app',
  image: 'orders',
  ...(resources === undefined ? {} : { resources }),
  ...more,
})
const list = (cpu: string, memory: string) => ({ cpu, memory })

type Added = { name: string; resources: { requests: Dict; limits: Dict } }
const inject = (object: Dict) => applyPatch(object, opsOf(decide(object, namespace(), settings())))
const ours = (object: Dict): Added[] =>
  ((inject(object).spec as Dict).initContainers as Added[]).filter(({ name }) => name.startsWith('pod2iam-'))
const resourcesOf = (object: Dict) => ours(object).map(({ resources }) => resources)

describe('a pod with pod-level resources', () => {
  it('gives our containers their usual requests and limits where there is room', () => {
    const resources = { limits: list('2', '1Gi'), requests: list('2', '1Gi') }
    const containers = [app({ requests: list('1', '512Mi') })]
    assert.deepEqual(resourcesOf(pod({ resources, containers })), [
      { requests: list('20m', '16Mi'), limits: list('500m', '48Mi') },
      { requests: list('500m', '16Mi'), limits: list('500m', '64Mi') },
    ])
  })

  it('whose containers request all of it gets a sidecar with explicit requests of zero', () => {
    const resources = { limits: list('1', '1Gi'), requests: list('250m', '128Mi') }
    const containers = [app({ requests: list('0.25', '134217728') })]
    const [sidecar, gate] = resourcesOf(pod({ resources, containers }))
    assert.deepEqual(sidecar, { requests: list('0', '0'), limits: list('500m', '48Mi') })
    // The gate runs before the app, whose request is not needed yet.
    assert.deepEqual(gate?.requests, list('250m', '16Mi'))
  })

  it('whose containers request too much of it causes a warning with the numbers', () => {
    const warned = (requests: string, limits = '8') => {
      const resources = { limits: { cpu: limits }, requests: { cpu: requests } }
      const decision = decide(
        pod({ resources, containers: [app({ requests: { cpu: '2' } })] }),
        namespace(),
        settings(),
      )
      return decision.kind === 'patch' ? decision.warnings : assert.fail(decision.reason)
    }
    assert.deepEqual(warned('2'), [
      'the pod as a whole requests 2 of cpu, and its containers leave 0 of it to the sidecar, which needs 20m: credentials come late ' +
        'while the app keeps every core busy; raise spec.resources.requests.cpu',
    ])
    assert.match(warned('2010m').join(), /requests 2010m of cpu, and its containers leave 10m .* needs 21m: /)
    assert.deepEqual(warned('2021m'), [])
  })

  it('gives our containers what is left, and the gate less by what runs beside it', () => {
    const resources = { requests: list('103m', '130Mi') }
    const initContainers = [
      { ...app({ requests: list('100m', '126Mi') }), name: 'proxy', restartPolicy: 'Always' },
    ]
    const [sidecar, gate] = resourcesOf(pod({ resources, initContainers }))
    assert.deepEqual([sidecar?.requests, gate?.requests], [list('3m', '4Mi'), list('0', '0')])
  })

  it('caps our limits, and our requests at these limits', () => {
    const resources = { limits: list('100m', '40Mi') }
    const [sidecar, gate] = resourcesOf(
      pod({ resources }, { [KEYS.sidecarResources]: '{"requests":{"memory":"48Mi"}}' }),
    )
    const expected = { requests: list('5m', '40Mi'), limits: list('100m', '40Mi') }
    assert.deepEqual([sidecar, gate], [expected, { ...expected, requests: list('5m', '0') }])
  })

  it('that has only limits gets the requests that the API server would have set by default', () => {
    const whole = (resources: Dict, more: Dict = {}) =>
      (inject(pod({ resources, ...more })).spec as { resources: Dict }).resources
    const limits = list('1', '1Gi')
    assert.deepEqual(whole({ limits }), { limits, requests: limits })
    assert.deepEqual(whole({ limits, requests: { cpu: '1' } }), { limits, requests: limits })
    assert.deepEqual(whole({ limits: { cpu: '1' } }), { limits: { cpu: '1' }, requests: { cpu: '1' } })
    // The API server also adds up the requests of the containers after us.
    const containers = [app({ requests: list('100m', '64Mi') })]
    assert.deepEqual(whole({ limits }, { containers }), { limits })
    assert.deepEqual(opsOf(decide(inject(pod({ resources: { limits } })), namespace(), settings())), [])
  })

  it('in a template is judged with the defaults that its pods will have', () => {
    const resources = { limits: list('1', '1.5Gi') }
    const containers = [app({ limits: list('200m', '64Mi') })]
    const [sidecar] = resourcesOf(pod({ resources, containers }))
    assert.deepEqual(sidecar?.requests, list('0', '0'))
  })

  it('does not depend on its containers to be Guaranteed, so ours request no more than usual', () => {
    const resources = { limits: list('1', '1Gi') }
    const containers = [app({ requests: list('200m', '64Mi'), limits: list('200m', '64Mi') })]
    const [sidecar] = resourcesOf(
      pod({ resources: { ...resources, requests: list('1', '1Gi') }, containers }),
    )
    assert.deepEqual(sidecar?.requests, list('10m', '16Mi'))
  })

  it('is unchanged in a second pass, although less is left by then', () => {
    const resources = { limits: list('1', '1Gi'), requests: list('260m', '140Mi') }
    const once = inject(pod({ resources, containers: [app({ requests: list('250m', '128Mi') })] }))
    const again = decide(once, namespace(), settings())
    assert.deepEqual([again.reason, opsOf(again)], ['already-injected', []])
  })

  it('that are malformed is injected as if it had none', () => {
    for (const resources of [null, 1, [], {}, { limits: 'x' }, { limits: { cpu: {} }, requests: [] }])
      assert.equal(resourcesOf(pod({ resources }))[0]?.limits.memory, '48Mi')
  })

  for (const [limits, said] of [
    [
      { memory: '20Mi' },
      /^the pod as a whole may use 20Mi of memory, and the sidecar alone needs a limit of 32Mi to start: raise spec\.resources\.limits\.memory, or remove /,
    ],
    [
      { cpu: '10m' },
      /may use 10m of cpu, .* needs a limit of 50m to start: raise spec\.resources\.limits\.cpu, or /,
    ],
  ] as const)
    it(`that may use only ${JSON.stringify(limits)} is refused, since it could not start`, () => {
      const decision = decide(pod({ resources: { limits } }), namespace(), settings())
      assert.equal(decision.reason, 'pod-resources-too-small')
      assert.match('sentence' in decision ? decision.sentence : '', said)
    })

  it('that are too small is left alone by both webhooks if it does not ask', () => {
    const all = namespace({ labels: { [KEYS.injection]: 'all' } })
    const object = pod({ resources: { limits: { memory: '20Mi' } } }, { [KEYS.role]: undefined })
    const decision = decide(object, all, settings())
    assert.deepEqual([decision.kind, decision.reason], ['skip', 'pod-resources-too-small'])
    const final = decideFinal(object, all, settings())
    assert.equal(final.kind, 'allow')
  })

  it('that are too small is admitted if a replica of an earlier release has injected it', () => {
    const injected = inject(pod())
    const spec = { ...(injected.spec as Dict), resources: { limits: { memory: '20Mi' } } }
    const object = { ...injected, spec }
    const final = decideFinal(object, namespace(), settings())
    assert.deepEqual([final.kind, final.reason], ['allow', 'already-injected'])
  })
})
