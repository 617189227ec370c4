import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isStandIn, type KubeObject } from '../client/client.ts'
import { namespace, pod, testServer } from '../client/test-server.ts'
import { isApiError } from '../objects/status.ts'
import { policiesInForce } from './test-policies.ts'

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
let count = 0

const NAMESPACE = 'judged'
test('(set-up) a namespace with a label is created', async () => {
  await server().admin.create(namespace(NAMESPACE, { team: 'a' }))
})

/** What a policy objects to in a pod that is created or changed; undefined if nothing. */
async function objection(spec: object, change?: object) {
  const { admin } = server()
  const name = `policy-${++count}`
  // Only this pod is judged, so that no other test must wait for the policy's end.
  const labels = { policy: name }
  const judged = pod('p', NAMESPACE, { metadata: { name: 'p', namespace: NAMESPACE, labels } })
  if (change !== undefined) await admin.create(judged)
  const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['pods'] }
  await admin.create(
    policy(name, {
      matchConstraints: { resourceRules: [rule], objectSelector: { matchLabels: labels } },
      ...spec,
    }),
  )
  await admin.create(binding(name, ['Deny']))
  await policiesInForce(server())
  try {
    if (change === undefined) await admin.create(judged, { dryRun: true })
    else await admin.patch('pods', 'p', NAMESPACE, change, { dryRun: true })
    return undefined
  } catch (error) {
    assert.ok(isApiError(error), String(error))
    const text = ` ValidatingAdmissionPolicy '${name}' with binding '${name}' denied request: `
    const [, message] = error.message.split(text)
    assert.notEqual(message, undefined, error.message)
    return { reason: error.reason, message }
  } finally {
    await admin.delete('validatingadmissionpolicybindings', name)
    await admin.delete('validatingadmissionpolicies', name)
    if (change !== undefined) await admin.delete('pods', 'p', NAMESPACE, { gracePeriodSeconds: 0 })
  }
}

test('a validation that is true admits the object, and one that is false refuses it with its message', async () => {
  const validations = [
    { expression: 'true' },
    { expression: "object.metadata.name == 'q'", message: 'call it q' },
  ]
  assert.deepEqual(await objection({ validations }), { reason: 'Invalid', message: 'call it q' })
  assert.equal(await objection({ validations: [{ expression: 'true' }] }), undefined)
})

test('the message is that of messageExpression, unless it fails or is empty', async () => {
  const said = async (messageExpression: string) =>
    (await objection({ validations: [{ expression: 'false', message: 'static', messageExpression }] }))
      ?.message
  assert.equal(await said("'not ' + object.metadata.name"), 'not p')
  assert.equal(await said("'node ' + object.spec.nodeName"), 'static')
  assert.equal(await said("' '"), 'static')
})

test('without a message, the refusal quotes the expression', async () =>
  assert.equal(
    (await objection({ validations: [{ expression: '1 == 2' }] }))?.message,
    'failed expression: 1 == 2',
  ))

test('variables may use each other, the namespace and the request, and are evaluated only when they are used', async () => {
  const variables = [
    { name: 'broken', expression: 'object.spec.nodeName' },
    { name: 'team', expression: 'namespaceObject.metadata.labels.team' },
    { name: 'both', expression: "variables.team + '-' + request.operation" },
  ]
  const validations = [{ expression: "variables.both == 'a-CREATE'" }]
  assert.equal(await objection({ variables, validations }), undefined)
  const failed = await objection({ variables, validations: [{ expression: "variables.broken == ''" }] })
  assert.match(
    failed?.message ?? '',
    /^expression 'variables\.broken == ''' resulted in error: .*no such key/,
  )
})

test('an expression or a match condition that fails refuses under Fail and admits under Ignore', async () => {
  const broken = "object.spec.nodeName == 'x'"
  for (const spec of [
    { validations: [{ expression: broken }] },
    { matchConditions: [{ name: 'x', expression: broken }], validations: [{ expression: 'true' }] },
  ]) {
    assert.notEqual(await objection(spec), undefined)
    assert.equal(await objection({ ...spec, failurePolicy: 'Ignore' }), undefined)
  }
})

test('oldObject is null when an object is created', async () => {
  const validations = [{ expression: 'oldObject == null' }]
  assert.equal(await objection({ validations }), undefined)
  assert.notEqual(await objection({ validations }, { metadata: { labels: { a: 'b' } } }), undefined)
})

test('Deny refuses with the real server’s text, Warn warns, and a policy without a binding has no effect', async () => {
  const { admin } = server()
  const spec = { validations: [{ expression: 'false', message: 'no pods', reason: 'Forbidden' }] }
  await admin.create(policy('unbound', spec))
  await policiesInForce(server())
  await admin.create(pod('a'))
  await admin.create(policy('warns', spec))
  await admin.create(binding('warns', ['Warn', 'Audit']))
  await policiesInForce(server())
  const warnings: string[] = []
  await admin.create(pod('b'), { onWarning: (text) => warnings.push(text) })
  assert.deepEqual(warnings, [
    "Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns': no pods",
  ])
  await admin.create(policy('denies', spec))
  await admin.create(binding('denies', ['Deny']))
  await policiesInForce(server())
  const error = await admin.create(pod('c')).catch((reason: unknown) => reason)
  assert.ok(isApiError(error, 403), String(error))
  assert.equal(
    error.message,
    `pods "c" is forbidden: ValidatingAdmissionPolicy 'denies' with binding 'denies' denied request: no pods`,
  )
})

test('exec and attach are admitted as CONNECT with the named container, and connect to nothing', async () => {
  const { admin } = server()
  await admin.delete('validatingadmissionpolicybindings', 'denies')
  await policiesInForce(server())
  const containers = ['app', 'other'].map((name) => ({ name, image: 'app:1' }))
  await admin.create(pod('shell', 'default', { spec: { containers } }))
  const connect = { apiGroups: [''], apiVersions: ['v1'], operations: ['CONNECT'], resources: ['pods/exec'] }
  const validations = [{ expression: "object.container != 'app'", message: 'not into app' }]
  await admin.create(policy('shells', { matchConstraints: { resourceRules: [connect] }, validations }))
  await admin.create(binding('shells', ['Deny']))
  await policiesInForce(server())
  const enter = (way: string, container: string) =>
    admin
      .post(`/api/v1/namespaces/default/pods/shell/${way}?container=${container}`)
      .catch((error: unknown) => error)
  assert.match(String(await enter('exec', 'app')), /not into app/)
  const nowhere = isStandIn() ? /connects by WebSocket alone/ : /pod shell does not have a host assigned/
  assert.match(String(await enter('exec', 'other')), nowhere)
  assert.match(String(await enter('attach', 'app')), nowhere)
  assert.ok(
    isApiError(
      await admin.post('/api/v1/namespaces/default/pods/none/exec?container=x').catch((e: unknown) => e),
      404,
    ),
  )
})
