/**
 * Golden files: `<name>.in.yaml` is a pod with its namespace, `<name>.out.yaml` the decision about it.
 * `UPDATE_GOLDEN=1 node --test test/injector/golden.test.ts` writes the latter again; read the diff.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { parse, parseAllDocuments, stringify } from 'yaml'
import type { Decision } from '../../injector/admission/decide.ts'
import { webhooks } from '../../injector/admission/webhook.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { silentLog } from '../support/log.ts'
import {
  applyPatch,
  type Dict,
  decide,
  noAccounts,
  reviewOf,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'

type Golden = {
  readonly settings?: Partial<InjectionSettings>
  readonly namespace: Namespace
  readonly pod: Dict
}

const DIRECTORY = new URL('golden/', import.meta.url)
const EXAMPLE = new URL('../../examples/datadog-agent.yaml', import.meta.url)

/** The pod that the DaemonSet controller creates from the example, and the example's namespace. */
function datadogAgent(): Golden {
  const [namespace, , daemonSet] = parseAllDocuments(readFileSync(EXAMPLE, 'utf8')).map((one) => one.toJS())
  const { metadata, spec } = daemonSet.spec.template
  const affinity = {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node1'] }] }],
      },
    },
  }
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'datadog-agent-', ...metadata },
    spec: { ...spec, affinity },
  }
  const { name, labels, annotations } = namespace.metadata
  return { namespace: { name, labels, annotations }, pod }
}

function goldens(): Map<string, Golden> {
  const files = readdirSync(DIRECTORY).filter((file) => file.endsWith('.in.yaml'))
  const read = (file: string): Golden => parse(readFileSync(new URL(file, DIRECTORY), 'utf8'))
  const named = files.map((file): [string, Golden] => [file.replace('.in.yaml', ''), read(file)])
  return new Map([...named, ['daemonset-datadog-agent', datadogAgent()]])
}

function decideGolden(golden: Golden, pod: Dict): Decision {
  const decision = decide(pod, golden.namespace, settings(golden.settings))
  // The operations contain them already.
  return decision.kind === 'patch' ? ({ ...decision, resources: undefined } as never) : decision
}

describe('golden pods', () => {
  for (const [name, golden] of goldens()) {
    it(`${name} is decided as its golden file says`, () => {
      const decision = decideGolden(golden, golden.pod)
      const file = new URL(`${name}.out.yaml`, DIRECTORY)
      // Through JSON and back: exactly what is sent, and no YAML anchors for shared objects.
      const text = stringify(JSON.parse(JSON.stringify(decision)), {
        lineWidth: 0,
        aliasDuplicateObjects: false,
      })
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
      assert.ok(existsSync(file), `${name}.out.yaml is missing: UPDATE_GOLDEN=1 writes it`)
      assert.equal(text, readFileSync(file, 'utf8'))
    })

    it(`${name} is not changed by a second pass`, () => {
      const first = decideGolden(golden, golden.pod)
      if (first.kind !== 'patch') return
      const patched = applyPatch(golden.pod, first.ops)
      for (const pod of [patched, withApiServerDefaults(patched)]) {
        const second = decideGolden(golden, pod)
        assert.deepEqual(
          [second.kind, second.reason, second.kind === 'patch' && second.ops],
          ['patch', 'already-injected', []],
        )
      }
    })
  }

  for (const [name, golden] of goldens())
    it(`${name} is answered the same in a dry run, without a side effect`, async () => {
      const looked: string[] = []
      const { mutate } = webhooks({
        limits: async () => NO_LIMITS,
        accounts: noAccounts,
        settings: () => settings(golden.settings),
        lookup: async (namespaceName) => {
          looked.push(namespaceName)
          return golden.namespace
        },
        metrics: { observe() {} },
        log: silentLog,
        clock: () => 0,
      })
      const answer = (dryRun: boolean) => {
        const review = reviewOf(golden.pod) as { request: Dict }
        return mutate(JSON.stringify({ ...review, request: { ...review.request, dryRun } }))
      }
      assert.deepEqual(await answer(true), await answer(false))
      assert.deepEqual(looked, ['shop', 'shop'], 'it only reads the namespace')
    })

  it('every golden result belongs to a golden pod', () => {
    const results = readdirSync(DIRECTORY).filter((file) => file.endsWith('.out.yaml'))
    assert.deepEqual(
      results.map((file) => file.replace('.out.yaml', '')).sort(),
      [...goldens().keys()].sort(),
    )
  })
})
