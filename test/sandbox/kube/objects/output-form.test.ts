import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pod, testServer } from '../client/test-server.ts'
import { outputForm } from './output-form.ts'
import { isApiError } from './status.ts'

const server = testServer({ controllers: false })
const LIST = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
const ONE = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1'
const UNKNOWN = LIST.replace('v=v1', 'v=v7')

const asked = async (path: string, accept: string) => {
  const { status, body } = await server().admin.request('GET', path, undefined, undefined, { accept })
  return { status, body: JSON.parse(body) }
}

test('a list and an object are answered as only their metadata if the client accepts that first', async () => {
  await server().admin.create(pod('a', 'default', { metadata: { labels: { x: '1' } } }))
  const { body: list } = await asked('/api/v1/pods?labelSelector=x%3D1', `${LIST}, application/json`)
  assert.deepEqual([list.kind, list.apiVersion], ['PartialObjectMetadataList', 'meta.k8s.io/v1'])
  assert.equal(typeof list.metadata.resourceVersion, 'string')
  assert.deepEqual(Object.keys(list.items[0]).sort(), ['apiVersion', 'kind', 'metadata'])
  const { body: one } = await asked('/api/v1/namespaces/default/pods/a', `${UNKNOWN}, ${ONE}`)
  assert.deepEqual([one.kind, one.metadata.labels.x, one.spec], ['PartialObjectMetadata', '1', undefined])
  assert.equal((await asked('/api/v1/pods', `${UNKNOWN}, application/json`)).body.kind, 'PodList')
})

test('a list that is requested as one object, or in an unknown form, is 406 NotAcceptable', async () => {
  for (const accept of [ONE, 'application/jwk-set+json', UNKNOWN]) {
    const { status, body } = await asked('/api/v1/pods', accept)
    assert.deepEqual([status, body.reason], [406, 'NotAcceptable'], accept)
  }
  assert.throws(
    () => outputForm(LIST, false),
    (error) => isApiError(error, 406),
  )
})
