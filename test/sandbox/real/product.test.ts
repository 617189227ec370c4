/**
 * The product with a real API server: injector, broker and node guard as processes in the sandbox's node, whose
 * kubelet, scheduler and network are still imitations. Each component requests only what the chart's roles allow.
 */
import { describe, test } from 'node:test'
import { needsHelm, renderFor } from '../../chart/helm.ts'
import { installInstead } from '../install.ts'
import { sinceKubernetes } from '../kube/client/client.ts'
import { judgeByRealApiServer, kubernetesVersion, needsControlPlane } from './judge.ts'

const SUITES = [
  'injector/policies',
  'injector/cluster',
  'chart/hooks',
  'chart/installed',
  'e2e/story',
  'e2e/web-identity',
  'e2e/service-account-roles',
  'e2e/narrower',
  'e2e/container-credentials',
  'e2e/stolen-identities',
  'injector/resources-admission',
  'injector/previous-release',
] as const

/** What an older Kubernetes does not have. */
const NEEDS: Readonly<Record<string, () => { skip?: string }>> = {
  'injector/policies': () => sinceKubernetes(30, 'ValidatingAdmissionPolicy'),
}

const { skip } = { ...needsHelm, ...needsControlPlane() }
if (skip !== undefined) test('the product works with a real API server as in the sandbox', { skip })
else {
  judgeByRealApiServer()
  installInstead(renderFor(kubernetesVersion(), 'sandbox'))
  for (const suite of SUITES)
    describe(`with a real API server: ${suite}`, NEEDS[suite]?.() ?? {}, async () => {
      await import(`../../${suite}.test.ts`)
    })
}
