/**
 * The command line beside a real API server: what it asks is answered there as by the stand-in. Without containers, which only a real
 * node has: a real API server speaks SPDY to its kubelets, the kubelet stand-in does not.
 */
import { describe, test } from 'node:test'
import { judgeByRealApiServer, needsControlPlane } from './judge.ts'

const SUITES = ['cli/check-before', 'cli/suggest', 'cli/trust'] as const

const { skip } = needsControlPlane()
if (skip !== undefined) test('the command line reads a real API server as it reads the stand-in', { skip })
else {
  judgeByRealApiServer()
  for (const suite of SUITES)
    describe(`a real API server: ${suite}`, async () => {
      await import(`../../${suite}.test.ts`)
    })
}
