/**
 * The stand-in is compared with a real API server: its suites are run once more, against etcd,
 * kube-apiserver and kube-controller-manager as released. They leave out by themselves what only a stand-in can do.
 */
import { describe, test } from 'node:test'
import { sinceKubernetes } from '../kube/client/client.ts'
import { judgeByRealApiServer, needsControlPlane } from './judge.ts'

const SUITES = [
  'objects/objects',
  'server/subresources',
  'objects/pod-level-resources',
  'objects/lifecycle',
  'admission/pod-security',
  'objects/output-form',
  'objects/selectors',
  'auth/rbac',
  'auth/tokens',
  'objects/json-patch',
  'admission/admission-policies',
  'admission/webhooks',
  'server/watch',
  'controllers/controllers',
  'client/peers',
] as const

/** Suites for which an older Kubernetes lacks everything; if it lacks less, the suite itself leaves that out. */
const NEEDS: Readonly<Record<string, () => { skip?: string }>> = {
  'objects/pod-level-resources': () => sinceKubernetes(34, 'resources of a whole pod'),
  'admission/admission-policies': () => sinceKubernetes(30, 'ValidatingAdmissionPolicy'),
}

const { skip } = needsControlPlane()
if (skip !== undefined) test('a real API server answers like the stand-in', { skip })
else {
  judgeByRealApiServer()
  for (const suite of SUITES)
    describe(`with a real API server: ${suite}`, NEEDS[suite]?.() ?? {}, async () => {
      await import(`../kube/${suite}.test.ts`)
    })
}
