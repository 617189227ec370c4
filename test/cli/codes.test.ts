/**
 * Each code that `explain`, `check` and `status` can say is produced in these tests by a pod, a node or a cluster that is really broken.
 * Both lists are read from the sources: what the programs can say, and what the tests demand.
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

/** A finding's code stands first in its call, a trouble's in its object. */
const FINDING = /(?:\b(?:failed|warning)\(\s*|\bcode: |\bfirst\?\.code \?\? )'([a-z0-9-]+)'/g

/** By what a sidecar is not ready (sidecar/health/readiness.ts, and what its store has in the place of credentials). */
const SIDECAR = [
  ...codesIn('sidecar/health/readiness.ts', /not\('([a-z-]+)'/g),
  ...codesIn('sidecar/credentials/store.ts', /code: '([a-z-]+)'/g),
  ...codesIn('sidecar/broker/client.ts', /code: (?:garbled \? )?'([a-z-]+)'/g),
  ...codesIn('sidecar/broker/client.ts', /'([a-z-]+)' : '[a-z-]+', detail/g),
  ...codesIn('sidecar/broker/outcome.ts', /code: '([a-z-]+)'/g),
  // That it has no role is no fault of the sidecar's.
  ...Object.entries(PROBLEMS).flatMap(([code, { meaning }]) => (meaning === 'none' ? [] : code)),
]
/** Why a guard's status is not verified, or cannot be had. */
const GUARD = [
  ...codesIn('node-guard/firewall/report/report.ts', /return \{ code: '([a-z-]+)', detail/g),
  ...codesIn('node-guard/firewall/status/file.ts', /(?:not\(\s*|code: )'([a-z-]+)'/g),
]
/** Of the Events of ours, where the sidecar cannot be asked. */
const EVENTS = codesIn('cli/explain/credentials.ts', /^ {2}[A-Z][A-Za-z]+: '([a-z-]+)',$/gm)

/** What no test produces, and why. */
const NOT_PRODUCED: Readonly<Record<string, string>> = {
  'node-unguarded':
    'to who may look at the guard it is in the place of a reason that a guard leaves out, and none of this release does',
  'pod-not-injected': 'the steps of admission say it before: such a pod has no sidecar, or opted out',
}

const EXPLAIN = new Set([
  ...STEPS.flatMap(({ reasons }) => reasons),
  ...allIn('cli/explain/*.ts', FINDING),
  ...SIDECAR,
  ...GUARD,
  ...EVENTS,
])
const CHECK = new Set([...allIn('cli/check/*.ts', FINDING), ...allIn('cli/status/*.ts', FINDING)])

/** What these tests demand: a code stands in them in quotes nowhere else. */
const demandedIn = (pattern: string) => new Set(allIn(pattern, /'([a-z0-9]+(?:-[a-z0-9]+)*)'/g))

describe('every code is produced by something that is really broken:', () => {
  for (const [command, codes, tests] of [
    ['explain', EXPLAIN, 'test/cli/explain*.test.ts'],
    ['check and status', CHECK, 'test/cli/{check,status,explain-node}*.test.ts'],
  ] as const)
    test(command, () => {
      assert.ok(codes.size > 20, String(codes.size))
      const demanded = demandedIn(tests)
      assert.deepEqual(
        [...codes].filter((code) => !demanded.has(code) && NOT_PRODUCED[code] === undefined),
        [],
      )
    })
})
