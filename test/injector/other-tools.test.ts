import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
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
import { TOOLS, type Tool, type ToolPod } from './other-tools.ts'

const OPERATORS = settings({
  trustedRegistries: ['111111111111.dkr.ecr.eu-west-1.amazonaws.com', 'localhost:7439'],
})
const given = () =>
  pod({
    containers: [{ name: 'app', image: 'orders:1' }],
    initContainers: [{ name: 'migrate', image: 'orders:1' }],
  })

const mutated = (before: Dict) =>
  withApiServerDefaults(applyPatch(before, opsOf(decide(before, namespace(), OPERATORS))))
const judged = (after: Dict) => decideFinal(after, namespace(), OPERATORS)
const acted = (before: Dict, { act }: Tool): Dict => {
  const after = structuredClone(before)
  act(after as unknown as ToolPod)
  return after
}
const ours = (after: Dict) =>
  ((after.spec as ToolPod['spec']).initContainers ?? []).filter(({ name }) => name.startsWith('pod2iam-'))
const names = (after: Dict) => ((after.spec as ToolPod['spec']).initContainers ?? []).map(({ name }) => name)
const saysOf = (verdict: ReturnType<typeof judged>) =>
  'sentence' in verdict ? verdict.sentence : verdict.reason

describe('other tools', () => {
  for (const tool of TOOLS) {
    it(`${tool.name}: a pod is injected after the tool`, () => {
      const after = mutated(acted(given(), tool))
      assert.equal(judged(after).reason, 'already-injected', saysOf(judged(after)))
    })

    it(`${tool.name}: after the injector, which is called again, our containers are ${tool.outcome}`, () => {
      const injected = mutated(given())
      const touched = acted(injected, tool)
      const again = mutated(touched)
      assert.equal(judged(again).reason, 'already-injected', saysOf(judged(again)))
      const changed = JSON.stringify(ours(touched)) !== JSON.stringify(ours(injected))
      if (tool.outcome === 'untouched') assert.ok(!changed)
      if (tool.outcome === 'kept') {
        assert.ok(changed)
        assert.deepEqual(ours(again), ours(touched))
      }
      if (tool.outcome === 'corrected')
        assert.notDeepEqual([names(again), ours(again)], [names(touched), ours(touched)])
      // The containers of every tool that is not a mesh come after ours in the end.
      const behind = names(again).slice(names(again).indexOf('pod2iam-gate') + 1)
      for (const name of names(again).filter((one) => !/^(?:istio|linkerd|kuma|pod2iam)-/.test(one)))
        assert.ok(behind.includes(name), name)
    })

    it(`${tool.name}: after the last call of the injector, the pod is ${tool.lastWord}`, () => {
      const verdict = judged(acted(mutated(acted(mutated(given()), tool)), tool))
      assert.equal(
        verdict.reason,
        tool.lastWord === 'admitted' ? 'already-injected' : 'not-injected',
        saysOf(verdict),
      )
    })
  }

  it('are the rows of the table in the docs', async () => {
    const text = await readFile(new URL('../../docs/other-tools.md', import.meta.url), 'utf8')
    const rows = text.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| tool '))
    assert.deepEqual(
      rows.slice(0, TOOLS.length),
      TOOLS.map(({ name, does, outcome, lastWord }) => `| ${name} | ${does} | ${outcome} | ${lastWord} |`),
    )
    assert.ok(TOOLS.length >= 20)
  })
})

describe('a pod that was copied from an injected pod', () => {
  const copied = (change: (pod: ToolPod) => void = () => {}) => {
    const running = mutated(given()) as unknown as ToolPod & Dict
    running.metadata = {
      ...running.metadata,
      uid: 'a',
      resourceVersion: '7',
      creationTimestamp: 'x',
      generation: 1,
    }
    running.spec = { ...running.spec, nodeName: 'node-1', enableServiceLinks: true }
    running.spec.volumes?.push({ name: 'kube-api-access-x7k2p', projected: { sources: [] } })
    running.status = { phase: 'Running' }
    change(running)
    return running as Dict
  }

  it('with kubectl get -o yaml | kubectl apply gets nothing added', () => {
    assert.deepEqual(opsOf(decide(copied(), namespace(), OPERATORS)), [])
    assert.equal(judged(copied()).reason, 'already-injected')
  })

  for (const [what, change] of [
    [
      'with another role and redirect mode',
      (one: ToolPod) => {
        one.metadata.annotations[KEYS.role] = 'arn:aws:iam::111111111111:role/shop-other'
        one.metadata.annotations[KEYS.redirect] = 'env'
      },
    ],
    [
      'from an earlier release, whose image and variables differ,',
      (one: ToolPod) => {
        const [sidecar] = one.spec.initContainers ?? []
        assert.ok(sidecar)
        sidecar.image = 'ghcr.io/pod2iam/sidecar:0.0.1'
        sidecar.env = (sidecar.env ?? []).filter(({ name }) => name !== 'POD2IAM_STARTUP_GATE')
      },
    ],
    [
      'with kubectl debug --copy-to, which adds a container,',
      (one: ToolPod) => {
        one.metadata.labels = {}
        one.spec.containers.push({ name: 'debugger-x', image: 'busybox', stdin: true, tty: true })
      },
    ],
    [
      'with only its annotations left',
      (one: ToolPod) => {
        one.spec.initContainers =
          one.spec.initContainers?.filter(({ name }) => !name.startsWith('pod2iam-')) ?? []
        one.spec.volumes = []
      },
    ],
  ] as const)
    it(`${what} gets the present containers`, () => {
      const after = mutated(copied(change))
      assert.equal(judged(after).reason, 'already-injected', saysOf(judged(after)))
      const fresh = copied(change)
      const bare = {
        ...fresh,
        spec: {
          ...(fresh.spec as Dict),
          initContainers: [{ name: 'migrate', image: 'orders:1' }],
          volumes: [],
        },
      }
      const wanted = ours(mutated(bare))
      assert.deepEqual(
        ours(after).map(({ image, args, securityContext }) => ({ image, args, securityContext })),
        wanted.map(({ image, args, securityContext }) => ({ image, args, securityContext })),
      )
      const variables = (list: Dict[] | undefined) =>
        Object.fromEntries((list ?? []).map(({ name, value }) => [name, value]))
      assert.deepEqual(
        ours(after).map((one) => variables(one.env)),
        wanted.map((one) => variables(one.env)),
      )
    })
})
