/** CEL as the API server's own packages compile and evaluate it (`kube-cel/`), to be compared with the sandbox's. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { needsPeer, peer } from '../peers/peers.ts'
import { type Judged, violations } from '../sandbox/kube/admission/admission-policies.ts'
import { evaluate } from '../sandbox/kube/admission/match-conditions.ts'
import { type JsonObject, type KubeObject, listAt } from '../sandbox/kube/objects/objects.ts'

export const needsCel = needsPeer('kube-cel')

/** The request of an AdmissionReview with its objects, for the policy or webhook of this name. */
type Request = { readonly of: string; readonly request: JsonObject; readonly namespace?: unknown }

type Verdict = {
  readonly outcome: 'match' | 'no-match' | 'error'
  readonly violations: readonly { readonly reason: string; readonly message: string }[]
  /** What the match conditions took of their budget, and what the rest took of its budget. */
  readonly matchCost: number
  readonly cost: number
}

type Input = {
  /** The version whose expressions are accepted; a server accepts those of the version before its own. The default is that of the packages. */
  readonly compatibility?: string
  /** Whether objects are evaluated as JSON, as older servers do, instead of by reflection on their Go types. */
  readonly unstructured?: boolean
  readonly objects: readonly unknown[]
  readonly requests?: readonly Request[]
}

type Output = {
  readonly compatibility: string
  /** The number of expressions of each policy or webhook. */
  readonly compiled: Readonly<Record<string, number>>
  readonly errors: readonly string[]
  readonly verdicts: readonly Verdict[]
}

/** Compiles the CEL in the objects, and evaluates it for the requests; throws the errors of `kube-cel`. */
export function kubeCel(input: Input): Output {
  const { status, stdout, stderr } = spawnSync(peer('kube-cel') ?? '', {
    input: JSON.stringify(input),
    encoding: 'utf8',
    timeout: 180_000,
    maxBuffer: 64 << 20,
  })
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

/** A webhook's match conditions, in a form that can be evaluated like a policy without validations. */
export type Conditions = { readonly name: string; readonly matchConditions: readonly JsonObject[] }

/** One request for one policy, or for one webhook's conditions. */
export type Case = { readonly judge: KubeObject | Conditions } & Omit<Judged, 'policy'>

/**
 * Fails unless the API server's CEL gives the same verdict as the sandbox's for every case, with the objects as today's servers
 * evaluate them and as older ones do.
 */
export function assertSameVerdicts(cases: readonly Case[]): void {
  const judges = [...new Set(cases.map(({ judge }) => JSON.stringify(judge)))]
  const objects = judges.map((text, index) => renamed(JSON.parse(text), `judge-${index}`))
  const requests = cases.map(({ judge, admission, request, namespace }) => ({
    of: `judge-${judges.indexOf(JSON.stringify(judge))}`,
    request: { ...request, ...admission },
    ...(namespace && { namespace }),
  }))
  const expected = cases.map(sandboxVerdict)
  for (const unstructured of [false, true]) {
    const { errors, verdicts } = kubeCel({ objects, requests, unstructured })
    assert.deepEqual(errors, [])
    assert.equal(verdicts.length, cases.length)
    for (const [index, { outcome, violations }] of verdicts.entries())
      assert.deepEqual(
        { outcome, violations },
        expected[index],
        `${unstructured ? 'unstructured' : 'typed'}: ${JSON.stringify(cases[index])}`,
      )
  }
}

function renamed(judge: KubeObject | Conditions, name: string) {
  if ('metadata' in judge) return { ...judge, metadata: { name } }
  return { kind: 'ValidatingWebhookConfiguration', webhooks: [{ ...judge, name }] }
}

function sandboxVerdict({ judge, admission, request, namespace }: Case) {
  if (!('metadata' in judge))
    return { outcome: evaluate(judge.matchConditions, admission, request).outcome, violations: [] }
  const spec = judge.spec as JsonObject
  return {
    outcome: evaluate(listAt(spec, 'matchConditions'), admission, request).outcome,
    violations: violations(judge, admission, request, namespace),
  }
}
