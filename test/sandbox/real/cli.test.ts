/**
 * The command line with a real API server, which answers its requests like the stand-in. Without containers, because they need a
 * real node: a real API server speaks SPDY to its kubelets, which the kubelet stand-in does not.
 */
import { describe, test } from 'node:test'
import { judgeByRealApiServer, needsControlPlane } from './judge.ts'

const SUITES = ['cli/check-before', 'cli/suggest', 'cli/trust'] as const

const { skip } = needsControlPlane()
if (skip !== undefined) test('the command line works with a real API server as with the stand-in', { skip })
else {
  judgeByRealApiServer()
  for (const suite of SUITES)
    describe(`with a real API server: ${suite}`, async () => {
      await import(`../../${suite}.test.ts`)
    })
}
