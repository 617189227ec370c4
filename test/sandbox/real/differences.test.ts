/**
 * Admission webhooks change pods with JSON Patch, so the stand-in must accept and refuse what a real API server does, including
 * cases that nobody thinks of: both get arbitrary documents and patches. A comparison without differences proves little,
 * so stand-ins that are broken on purpose are compared, too, and each of them must be detected.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { testServer } from '../kube/client/test-server.ts'
import { jsonPatch, PatchError } from '../kube/objects/json-patch.ts'
import { isObject } from '../kube/objects/objects.ts'
import { documents, type Patcher, standInPatcher } from '../kube/objects/test-documents.ts'
import { judgeByRealApiServer, needsControlPlane } from './judge.ts'

type Case = { readonly document: unknown; readonly operations: readonly { op: string; path: string }[] }

const KEYS = ['a', 'b', 'a/b', '~']
const leaf = fc.constantFrom<unknown>(1, 'x', true, '')
const document = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 2, withCrossShrink: true }, leaf, tie('list'), tie('map')),
  list: fc.array(tie('value'), { maxLength: 3 }),
  map: fc.dictionary(fc.constantFrom(...KEYS), tie('value'), { maxKeys: 3 }),
}))
const token = fc.constantFrom(
  ...KEYS.map((key) => key.replaceAll('~', '~0').replaceAll('/', '~1')),
  '0',
  '1',
  '-',
  '3',
)
const pointer = fc.array(token, { minLength: 1, maxLength: 3 }).map((tokens) => `/${tokens.join('/')}`)
const operation = fc.oneof(
  fc.record({ op: fc.constantFrom('add', 'replace', 'test'), path: pointer, value: document.value }),
  fc.record({ op: fc.constant('remove'), path: pointer }),
  fc.record({ op: fc.constantFrom('move', 'copy'), from: pointer, path: pointer }),
)
const cases: readonly Case[] = fc.sample(
  fc.record({ document: document.map, operations: fc.array(operation, { minLength: 1, maxLength: 2 }) }),
  { seed: 20261129, numRuns: 300 },
)

const BROKEN: Readonly<Record<string, typeof jsonPatch>> = {
  'accepts the removal of a missing member': (before, patch) =>
    tolerant(before, patch, ({ op }) => op === 'remove'),
  'accepts a test that fails': (before, patch) => tolerant(before, patch, ({ op }) => op === 'test'),
  'refuses every copy': (before, patch) => {
    if (operationsOf(patch).some(({ op }) => op === 'copy')) throw new PatchError('no')
    return jsonPatch(before, patch)
  },
}

const needs = needsControlPlane()
if (needs.skip === undefined) judgeByRealApiServer()

describe('arbitrary patches', needs, () => {
  const server = testServer()
  const answers: unknown[] = []

  test('are accepted and refused by the stand-in as by a real API server', async () => {
    const real = documents(server)
    for (const { document, operations } of cases) answers.push(await real.json(document, operations))
    assert.ok(answers.filter((answer) => answer === undefined).length > 20, 'some are refused')
    assert.ok(answers.filter((answer) => answer !== undefined).length > 20, 'some are accepted')
    assert.deepEqual(await differences(standInPatcher()), [])
  })

  for (const [what, broken] of Object.entries(BROKEN))
    test(`detect a stand-in that ${what}`, async () => {
      assert.notDeepEqual(await differences(standInPatcher(broken)), [])
    })

  async function differences(patcher: Patcher): Promise<unknown[]> {
    const found: unknown[] = []
    for (const [index, { document, operations }] of cases.entries()) {
      const own = await patcher.json(document, operations)
      const real = answers[index]
      if (!same(own, real)) found.push({ document, operations, own, real })
    }
    return found
  }
})

const same = (one: unknown, other: unknown) => canonical(one) === canonical(other)

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part) =>
    isObject(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  )
}

const operationsOf = (patch: unknown) => patch as { op: string }[]

/** Applies the operations one after the other; a failed one that is tolerated is skipped. */
function tolerant(
  before: unknown,
  patch: unknown,
  forgives: (operation: { op: string }) => boolean,
): unknown {
  let result = before
  for (const one of operationsOf(patch))
    try {
      result = jsonPatch(result, [one])
    } catch (error) {
      if (!forgives(one)) throw error
    }
  return result
}
