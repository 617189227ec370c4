/**
 * Each code that `explain`, `check` and `status` can print is produced in these tests by a pod, a node or a cluster that is really
 * broken. Both lists are read from the sources: the codes of the programs, and the codes that the tests expect.
 */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { describe, test } from 'node:test'
import { STEPS } from '../../cli/explain/admission.ts'
import { PROBLEMS } from '../../common/protocol.ts'
import { PROJECT } from '../docs/markdown.ts'
import { codesIn } from '../docs/source.ts'

const files = (pattern: string) => globSync(pattern, { cwd: PROJECT })
const allIn = (pattern: string, found: RegExp) => files(pattern).flatMap((file) => codesIn(file, found))

/** The code of a finding is the first argument of its call; the code of a trouble is in its object. */
const FINDING = /(?:\b(?:failed|warning)\(\s*|\bcode: |\bfirst\?\.code \?\? )'([a-z0-9-]+)'/g

/** The reasons why a sidecar is not ready (sidecar/health/readiness.ts, and what its store has instead of credentials). */
const SIDECAR = [
  ...codesIn('sidecar/health/readiness.ts', /not\('([a-z-]+)'/g),
  ...codesIn('sidecar/credentials/store.ts', /code: '([a-z-]+)'/g),
  ...codesIn('sidecar/broker/client.ts', /code: (?:garbled \? )?'([a-z-]+)'/g),
  ...codesIn('sidecar/broker/client.ts', /'([a-z-]+)' : '[a-z-]+', detail/g),
  ...codesIn('sidecar/broker/outcome.ts', /code: '([a-z-]+)'/g),
  // A sidecar without a role is not at fault.
  ...Object.entries(PROBLEMS).flatMap(([code, { meaning }]) => (meaning === 'none' ? [] : code)),
]
/** The reasons why a guard's status is not verified, or cannot be read. */
const GUARD = [
  ...codesIn('node-guard/firewall/report/report.ts', /return \{ code: '([a-z-]+)', detail/g),
  ...codesIn('node-guard/firewall/status/file.ts', /(?:not\(\s*|code: )'([a-z-]+)'/g),
]
/** The codes for our own Events, where the sidecar cannot be asked. */
const EVENTS = codesIn('cli/explain/credentials.ts', /^ {2}[A-Z][A-Za-z]+: '([a-z-]+)',$/gm)

/** The codes that no test produces, and why. */
const NOT_PRODUCED: Readonly<Record<string, string>> = {
  'node-unguarded':
    'a user who may read the guard gets it instead of a reason that the guard omits, which no guard of this release does',
  'pod-not-injected': 'the steps of admission report it before: such a pod has no sidecar, or opted out',
}

const EXPLAIN = new Set([
  ...STEPS.flatMap(({ reasons }) => reasons),
  ...allIn('cli/explain/*.ts', FINDING),
  ...SIDECAR,
  ...GUARD,
  ...EVENTS,
])
const CHECK = new Set([...allIn('cli/check/*.ts', FINDING), ...allIn('cli/status/*.ts', FINDING)])

/** The codes that these tests expect: a code is in quotes in them for no other reason. */
const expectedIn = (pattern: string) => new Set(allIn(pattern, /'([a-z0-9]+(?:-[a-z0-9]+)*)'/g))

describe('every code is produced by something that is really broken:', () => {
  for (const [command, codes, tests] of [
    ['explain', EXPLAIN, 'test/cli/explain*.test.ts'],
    ['check and status', CHECK, 'test/cli/{check,status,explain-node}*.test.ts'],
  ] as const)
    test(command, () => {
      assert.ok(codes.size > 20, String(codes.size))
      const expectedCodes = expectedIn(tests)
      assert.deepEqual(
        [...codes].filter((code) => !expectedCodes.has(code) && NOT_PRODUCED[code] === undefined),
        [],
      )
    })
})
