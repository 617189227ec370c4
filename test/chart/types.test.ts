/** Every object that the chart renders, checked against the types of Kubernetes, and created at an API server. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { stringify } from 'yaml'
import { needsPeer, peer } from '../peers/peers.ts'
import { needsHelm, objectsOf, type Rendered, SETS, template } from './helm.ts'

const needsTypes = needsHelm.skip === undefined ? needsPeer('kube-types') : needsHelm

/** Types that are not in Kubernetes or the Prometheus operator; their objects are only in the golden files. */
const FOREIGN = /^(cilium\.io|cert-manager\.io|security\.openshift\.io)\//

/** What `kube-types` finds wrong in these objects, or an empty string. */
function wrongIn(objects: readonly unknown[]): string {
  const input = objects.map((object) => `---\n${stringify(object)}`).join('')
  const { status, stdout, stderr } = spawnSync(peer('kube-types') ?? '', { input, encoding: 'utf8' })
  assert.ok(status === 0 || status === 1, stderr)
  return stdout
}

describe('each rendered object of the chart', needsTypes, () => {
  for (const set of SETS)
    test(`has only fields that Kubernetes knows, with the values ${set}`, () => {
      const objects = objectsOf(template(set)).filter(({ apiVersion }) => !FOREIGN.test(apiVersion))
      assert.ok(objects.length > 10)
      assert.equal(wrongIn(objects), '')
    })

  test('would not pass with an unknown field, a wrong type or an unknown kind', () => {
    const [first] = objectsOf(template('default')).filter(({ kind }) => kind === 'Deployment')
    const spec = (first as Rendered & { spec: object }).spec
    assert.match(wrongIn([{ ...first, spec: { ...spec, replica: 1 } }]), /unknown field "spec.replica"/)
    assert.match(wrongIn([{ ...first, spec: { ...spec, replicas: 'two' } }]), /replicas/)
    assert.match(wrongIn([{ ...first, kind: 'Deployments' }]), /no kind "Deployments"/)
  })
})
