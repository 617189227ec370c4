/**
 * The product beside a real API server: injector, broker and node guard as processes in the sandbox's node, whose
 * kubelet, scheduler and network stay imitations. What each component asks is what the chart's roles allow, and no more.
 */
import { describe, test } from 'node:test'
import { judgeByRealApiServer, needsControlPlane } from './judge.ts'

const SUITES = [
  'injector/policies',
  'injector/cluster',
  'chart/hooks',
  'chart/installed',
  'e2e/story',
  'injector/resources-admission',
  'injector/previous-release',
] as const

const { skip } = needsControlPlane()
if (skip !== undefined)
  test('the product does beside a real API server what it does in the sandbox', { skip })
else {
  judgeByRealApiServer()
  for (const suite of SUITES)
    describe(`a real API server: ${suite}`, async () => {
      await import(`../../${suite}.test.ts`)
    })
}
