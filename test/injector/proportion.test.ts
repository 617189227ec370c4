/** The CPU that our containers request where nobody chose it: in proportion to the pod, and counted once in the pod's request. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { KEYS } from '../../common/keys.ts'
import type { Pod } from '../../injector/pod/pod.ts'
import { inProportion } from '../../injector/pod/proportion.ts'
import { podTotal } from '../../injector/pod/resource-totals.ts'
import { cpuMillis } from '../../injector/resources/quantity.ts'
import { parseResources } from '../../injector/resources/resources.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, settings } from './fixtures.ts'

const requests = (cpu?: string | number, more: Dict = {}): Dict => ({
  image: 'x',
  ...(cpu === undefined ? {} : { resources: { requests: { cpu } } }),
  ...more,
})
const SIDECAR = { restartPolicy: 'Always' }
type Containers = readonly Dict[]
const named = (list: Containers, prefix: string) =>
  list.map((one, index) => ({ name: `${prefix}${index}`, ...one }))
const podOf = (containers: Containers, initContainers: Containers = [], more: Dict = {}): Dict =>
  pod({ containers: named(containers, 'app'), initContainers: named(initContainers, 'init'), ...more })
const inject = (object: Dict, ours = settings()) =>
  applyPatch(object, opsOf(decide(object, namespace(), ours)))
const cpuOf = (object: Dict, ours = settings()) => {
  const { initContainers } = inject(object, ours).spec as { initContainers: Dict[] }
  const of = (name: string) => {
    const { resources } = initContainers.find((one) => one.name === name) ?? {}
    return ((resources as Dict).requests as Dict).cpu
  }
  return [of('pod2iam-sidecar'), of('pod2iam-gate')]
}

describe('the CPU requests of the sidecar and the gate, where none is chosen:', () => {
  const cases: readonly (readonly [what: string, object: Dict, sidecar: string, gate: string])[] = [
    ['nothing requested: the minimum', podOf([requests()]), '5m', '5m'],
    ['0.1 CPU: the minimum', podOf([requests('100m')]), '5m', '100m'],
    ['half a CPU, of which a hundredth is the minimum', podOf([requests('0.5')]), '5m', '500m'],
    ['a hundredth is rounded up', podOf([requests('501m')]), '6m', '500m'],
    ['1 CPU', podOf([requests(1)]), '10m', '500m'],
    ['2 CPU, of two containers', podOf([requests('1.5'), requests('500m')]), '20m', '500m'],
    ['8 CPU', podOf([requests('8')]), '80m', '500m'],
    ['64 CPU: the maximum', podOf([requests('64')]), '100m', '500m'],
    [
      'a limit without a request counts as the request',
      podOf([requests(undefined, { resources: { limits: { cpu: 3 } } })]),
      '30m',
      '500m',
    ],
    ['native sidecars run with the app', podOf([requests('1')], [requests('1', SIDECAR)]), '20m', '500m'],
    [
      'an init container that asks for more than the app',
      podOf([requests('1')], [requests('4')]),
      '40m',
      '500m',
    ],
    [
      'a native sidecar runs beside the gate, so less is free',
      podOf([requests('50m')], [requests('300m', SIDECAR)]),
      '5m',
      '50m',
    ],
    [
      'native sidecars alone leave the minimum for the gate',
      podOf([requests()], [requests('300m', SIDECAR)]),
      '5m',
      '5m',
    ],
    [
      'pod-level resources',
      podOf([requests('1')], [], { resources: { requests: { cpu: '4' } } }),
      '40m',
      '500m',
    ],
    [
      'invalid quantities count as nothing requested',
      podOf([requests('a lot'), requests('-1'), { image: 'x', resources: { requests: 1 } }]),
      '5m',
      '5m',
    ],
  ]
  for (const [what, object, sidecar, gate] of cases)
    it(`${what} → ${sidecar}, ${gate}`, () => assert.deepEqual(cpuOf(object), [sidecar, gate]))
})

describe('a chosen CPU request', () => {
  const given = (text: string, base = settings()) => {
    const read = parseResources(text, base.resources, base.resourcesMax)
    assert.ok(read.ok, read.ok ? '' : read.detail)
    return settings({ resources: read.resources })
  }
  const large = (annotations: Record<string, string> = {}) =>
    pod({ containers: [{ name: 'app', image: 'x', resources: { requests: { cpu: '4' } } }] }, annotations)

  it('holds for the sidecar and the gate of every pod', () =>
    assert.deepEqual(cpuOf(large(), given('{"requests":{"cpu":"7m"}}')), ['7m', '7m']))

  it('in an annotation takes precedence over the operator’s, even "auto" over a number', () => {
    assert.deepEqual(cpuOf(large({ [KEYS.sidecarResources]: '{"requests":{"cpu":"9m"}}' })), ['9m', '9m'])
    const automatic = large({ [KEYS.sidecarResources]: '{"requests":{"cpu":"auto"}}' })
    assert.deepEqual(cpuOf(automatic, given('{"requests":{"cpu":"7m"}}')), ['40m', '500m'])
    assert.deepEqual(cpuOf(large(), given('{"requests":{"cpu":"auto"}}')), ['40m', '500m'])
  })

  it('is not needed where the limit is low, since the automatic request is at most the limit', () =>
    assert.deepEqual(
      cpuOf(pod({ containers: [requests('8', { name: 'app' })] }), given('{"limits":{"cpu":"50m"}}')),
      ['50m', '50m'],
    ))

  for (const text of [
    '{"requests":{"memory":"auto"}}',
    '{"limits":{"cpu":"auto"}}',
    '{"requests":{"cpu":"Auto"}}',
    '{"requests":{"cpu":""}}',
  ])
    it(`cannot be ${text}`, () => {
      const { resources, resourcesMax } = settings()
      const read = parseResources(text, resources, resourcesMax)
      assert.match(read.ok ? '' : read.detail, /^must give cpu and memory in .* as quantities/)
    })
})

describe('in any pod,', () => {
  const cpu = fc.constantFrom(undefined, 0, '0', '1m', '99m', '0.25', '1500u', 1, '2', '7', '64', '1e3', 'x')
  const container = fc
    .record({ cpu, limit: cpu, restartPolicy: fc.constantFrom(undefined, 'Always') })
    .map(({ cpu: request, limit, restartPolicy }) => ({
      image: 'x',
      resources: { requests: { cpu: request }, limits: { cpu: limit } },
      restartPolicy,
    }))
  const anyPod = fc
    .record({
      apps: fc.array(container, { minLength: 1, maxLength: 3 }),
      inits: fc.array(container, { maxLength: 3 }),
    })
    .map(({ apps, inits }) => podOf(apps, inits))

  it('the sidecar and the gate stay within their bounds, and the pod’s request grows only by the sidecar’s, or by both minimums', () => {
    fc.assert(
      fc.property(anyPod, (object) => {
        const { sidecar, gate } = inProportion(object as unknown as Pod, settings().resources)
        const [ofSidecar, ofGate] = [sidecar, gate].map(
          ({ requests: { cpu: text } }) => cpuMillis(text) ?? -1,
        )
        assert.ok(ofSidecar !== undefined && ofSidecar >= 5 && ofSidecar <= 100, String(ofSidecar))
        assert.ok(ofGate !== undefined && ofGate >= 5 && ofGate <= 500, String(ofGate))
        const total = (one: Dict) => podTotal(one as unknown as Pod, 'requests', 'cpu') ?? 0
        const growth = total(inject(object)) - total(object)
        assert.ok(growth <= ofSidecar + 5 + 1e-6, `it grew by ${growth}m`)
        if (total(object) >= 10 && ofGate > 5) assert.ok(growth <= ofSidecar + 1e-6, `it grew by ${growth}m`)
      }),
      { numRuns: 400 },
    )
  })

  it('our own containers do not count, so that an injected pod gets the same requests', () => {
    fc.assert(
      fc.property(anyPod, (object) => {
        const [first, again] = [object, inject(object)].map((one) =>
          inProportion(one as unknown as Pod, settings().resources),
        )
        assert.deepEqual(again, first)
      }),
      { numRuns: 400 },
    )
  })
})

describe('a node', () => {
  /** The pods in docs/operations.md#cpu-in-proportion. */
  const MIX = [
    [40, undefined],
    [40, '100m'],
    [22, '250m'],
    [6, '500m'],
    [2, '1'],
  ] as const
  const total = (one: Dict) => podTotal(one as unknown as Pod, 'requests', 'cpu') ?? 0
  const added = (cpu: string | undefined) =>
    total(inject(podOf([requests(cpu)]))) - total(podOf([requests(cpu)]))

  it('with 110 pods of several sizes has 15.26 CPU requested, 760m of them by our containers', () => {
    assert.equal(
      MIX.reduce((sum, [count]) => sum + count, 0),
      110,
    )
    assert.equal(
      MIX.reduce((sum, [count, cpu]) => sum + count * added(cpu), 0),
      760,
    )
    assert.equal(
      MIX.reduce((sum, [count, cpu]) => sum + count * total(inject(podOf([requests(cpu)]))), 0),
      15_260,
    )
  })

  it('has 10m more requested by each pod that requests nothing, since the gate has no app to share with', () =>
    assert.deepEqual([added(undefined), added('4m'), added('5m'), added('8')], [10, 6, 5, 80]))
})

describe('a second pass', () => {
  it('after another webhook added a container does not change our containers or the hash of the template', () => {
    const once = inject(podOf([requests('1')])) as { spec: { containers: Dict[] } }
    const more = {
      ...once,
      spec: { ...once.spec, containers: [...once.spec.containers, { name: 'b', ...requests('8') }] },
    }
    assert.deepEqual(opsOf(decide(more, namespace(), settings())), [])
  })
})
