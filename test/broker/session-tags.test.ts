import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterArn, tagsOf } from '../../node-guard/broker/authorize/session-tags.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'

const metadata = { uid: 'u', namespace: 'shop', name: 'till-0' }
const pod = podRecord({ metadata, spec: { serviceAccountName: 'till' } }, 'role') ?? assert.fail()
const ARN = 'arn:aws:eks:eu-west-1:111111111111:cluster/prod'
const OWN = {
  ...{ 'kubernetes-namespace': 'shop', 'kubernetes-service-account': 'till' },
  ...{ 'kubernetes-pod-name': 'till-0', 'kubernetes-pod-uid': 'u' },
}
const tags = (over: Partial<Parameters<typeof tagsOf>[1]>) => {
  const none = { sessionTags: true, clusterName: undefined, clusterArn: undefined, extraSessionTags: [] }
  return Object.fromEntries(tagsOf(pod, { ...none, ...over }).map(({ Key, Value }) => [Key, Value]))
}

test('a pod’s tags are those of EKS Pod Identity, including the cluster’s name and ARN if they are set', () => {
  assert.deepEqual(tags({}), OWN)
  assert.deepEqual(tags({ clusterName: 'prod' }), { ...OWN, 'eks-cluster-name': 'prod' })
  const both = { ...OWN, 'eks-cluster-arn': ARN, 'eks-cluster-name': 'prod' }
  assert.deepEqual(tags({ clusterArn: ARN }), both)
  assert.deepEqual(tags({ clusterArn: ARN, clusterName: 'prod' }), both)
})

test('the operator’s tags are added to those of a pod, or are the only ones', () => {
  const extraSessionTags = [
    { Key: 'team', Value: 'platform' },
    { Key: 'empty', Value: '' },
  ]
  const extra = { team: 'platform', empty: '' }
  assert.deepEqual(tags({ extraSessionTags }), { ...OWN, ...extra })
  assert.deepEqual(tags({ extraSessionTags, sessionTags: false }), extra)
  assert.deepEqual(tags({ sessionTags: false }), {})
})

test('the ARN of the cluster is that of an EKS cluster, or is empty for none', () => {
  assert.equal(clusterArn.parse(ARN), ARN)
  assert.equal(clusterArn.parse(''), undefined)
  assert.throws(() => clusterArn.parse('arn:aws:iam::111111111111:role/prod'), /the ARN of an EKS cluster/)
})
