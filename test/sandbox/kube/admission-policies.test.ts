import assert from 'node:assert/strict'
import { test } from 'node:test'
import { violations } from './admission-policies.ts'
import type { KubeObject } from './objects.ts'
import { isApiError } from './status.ts'
import { namespace, pod, testServer } from './test-server.ts'

const server = testServer({ controllers: false })
const GROUP = 'admissionregistration.k8s.io/v1'

function policy(name: string, spec: object): KubeObject {
  const rules = [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }]
  return {
    apiVersion: GROUP,
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name },
    spec: { matchConstraints: { resourceRules: rules }, ...spec },
  }
}
const binding = (name: string, actions: readonly string[]): KubeObject => ({
  apiVersion: GROUP,
  kind: 'ValidatingAdmissionPolicyBinding',
  metadata: { name },
  spec: { policyName: name, validationActions: actions },
})
const objections = (spec: object, object: KubeObject = pod('p'), oldObject?: KubeObject) =>
  violations(
    policy('x', spec),
    { object, oldObject },
    { operation: 'CREATE' },
    namespace('default', { team: 'a' }),
  )

test('a validation that holds says nothing, another its message', () => {
  const validations = [
    { expression: 'true' },
    { expression: "object.metadata.name == 'q'", message: 'call it q' },
  ]
  assert.deepEqual(objections({ validations }), [{ reason: 'Invalid', message: 'call it q' }])
})

test('messageExpression is the message, unless it fails or is empty', () => {
  const said = (messageExpression: string) =>
    objections({ validations: [{ expression: 'false', message: 'static', messageExpression }] })[0]?.message
  assert.equal(said("'not ' + object.metadata.name"), 'not p')
  assert.equal(said('object.spec.nothing'), 'static')
  assert.equal(said("' '"), 'static')
})

test('without any message the expression is told', () =>
  assert.equal(
    objections({ validations: [{ expression: '1 == 2' }] })[0]?.message,
    'failed expression: 1 == 2',
  ))

test('variables may use each other, the namespace and the request, and are evaluated only when they are used', () => {
  const variables = [
    { name: 'broken', expression: 'object.spec.nothing.at.all' },
    { name: 'team', expression: 'namespaceObject.metadata.labels.team' },
    { name: 'both', expression: "variables.team + '-' + request.operation" },
  ]
  const validations = [{ expression: "variables.both == 'a-CREATE'" }]
  assert.deepEqual(objections({ variables, validations }), [])
  const [failed] = objections({ variables, validations: [{ expression: 'variables.broken' }] })
  assert.match(failed?.message ?? '', /^expression 'variables\.broken' resulted in error: no such key/)
})

test('an expression that fails refuses under Fail and says nothing under Ignore, as does a match condition', () => {
  const broken = 'object.spec.nothing'
  for (const spec of [
    { validations: [{ expression: broken }] },
    { matchConditions: [{ name: 'x', expression: broken }], validations: [] },
  ]) {
    assert.equal(objections(spec).length, 1)
    assert.deepEqual(objections({ ...spec, failurePolicy: 'Ignore' }), [])
  }
})

test('there is no old object where one is created', () => {
  const validations = [{ expression: 'oldObject == null' }]
  assert.deepEqual(objections({ validations }), [])
  assert.equal(objections({ validations }, pod('p'), pod('p')).length, 1)
})

test('Deny refuses with the real server’s text and the policy’s reason, Warn warns, and without a binding nothing happens', async () => {
  const { admin } = server()
  const spec = { validations: [{ expression: 'false', message: 'no pods', reason: 'Forbidden' }] }
  await admin.create(policy('unbound', spec))
  await admin.create(pod('a'))
  await admin.create(policy('warns', spec))
  await admin.create(binding('warns', ['Warn', 'Audit']))
  const told: string[] = []
  await admin.create(pod('b'), { onWarning: (text) => told.push(text) })
  assert.deepEqual(told, [
    "Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns': no pods",
  ])
  await admin.create(policy('denies', spec))
  await admin.create(binding('denies', ['Deny']))
  const error = await admin.create(pod('c')).catch((reason: unknown) => reason)
  assert.ok(isApiError(error, 403), String(error))
  assert.equal(
    error.message,
    `pods "c" is forbidden: ValidatingAdmissionPolicy 'denies' with binding 'denies' denied request: no pods`,
  )
})

test('exec and attach are admitted as CONNECT with the container that was named, and lead nowhere', async () => {
  const { admin } = server()
  await admin.delete('validatingadmissionpolicybindings', 'denies')
  await admin.create(pod('shell'))
  const connect = { apiGroups: [''], apiVersions: ['v1'], operations: ['CONNECT'], resources: ['pods/exec'] }
  const validations = [{ expression: "object.container != 'app'", message: 'not into app' }]
  await admin.create(policy('shells', { matchConstraints: { resourceRules: [connect] }, validations }))
  await admin.create(binding('shells', ['Deny']))
  const enter = (way: string, container: string) =>
    admin
      .post(`/api/v1/namespaces/default/pods/shell/${way}?container=${container}`)
      .catch((error: unknown) => error)
  assert.match(String(await enter('exec', 'app')), /not into app/)
  assert.match(String(await enter('exec', 'other')), /connects to no container/)
  assert.match(String(await enter('attach', 'app')), /connects to no container/)
  assert.ok(
    isApiError(await admin.post('/api/v1/namespaces/default/pods/none/exec').catch((e: unknown) => e), 404),
  )
})
