import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../../support/until.ts'
import { namespace, pod, testServer } from '../client/test-server.ts'
import { isApiError } from '../objects/status.ts'
import type { Attributes } from './rbac.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin
const RBAC = 'rbac.authorization.k8s.io'

const PODS = { apiGroups: [''], resources: ['pods'], verbs: ['get', 'watch'] }
const RULES: [what: string, rule: object, asked: Attributes, allowed: boolean][] = [
  ['a verb and resource that it lists', PODS, { verb: 'get', group: '', resource: 'pods' }, true],
  ['another verb', PODS, { verb: 'list', group: '', resource: 'pods' }, false],
  ['another group', PODS, { verb: 'get', group: 'apps', resource: 'pods' }, false],
  [
    'a sub-resource that it does not list',
    PODS,
    { verb: 'get', group: '', resource: 'pods', subresource: 'status' },
    false,
  ],
  [
    'a sub-resource that it lists',
    { ...PODS, resources: ['pods/status'] },
    { verb: 'get', group: '', resource: 'pods', subresource: 'status' },
    true,
  ],
  [
    'any resource’s sub-resource',
    { ...PODS, resources: ['*/status'] },
    { verb: 'get', group: '', resource: 'pods', subresource: 'status' },
    true,
  ],
  [
    'everything',
    { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
    { verb: 'x', group: 'y', resource: 'z', subresource: 's' },
    true,
  ],
  [
    'a name that it lists',
    { ...PODS, resourceNames: ['a'] },
    { verb: 'get', group: '', resource: 'pods', name: 'a' },
    true,
  ],
  [
    'a name that it does not list',
    { ...PODS, resourceNames: ['a'] },
    { verb: 'get', group: '', resource: 'pods', name: 'b' },
    false,
  ],
  [
    'a request without name if it lists names',
    { ...PODS, resourceNames: ['a'] },
    { verb: 'watch', group: '', resource: 'pods' },
    false,
  ],
  [
    'a path that it lists',
    { nonResourceURLs: ['/healthz'], verbs: ['get'] },
    { verb: 'get', path: '/healthz' },
    true,
  ],
  [
    'a path with a listed prefix',
    { nonResourceURLs: ['/openid/*'], verbs: ['get'] },
    { verb: 'get', path: '/openid/v1/jwks' },
    true,
  ],
  [
    'a path that it does not list',
    { nonResourceURLs: ['/healthz'], verbs: ['get'] },
    { verb: 'get', path: '/healthz/etcd' },
    false,
  ],
  [
    'a resource if it lists only paths',
    { nonResourceURLs: ['*'], verbs: ['*'] },
    { verb: 'get', group: '', resource: 'pods' },
    false,
  ],
]

const MARK = { verb: 'get', path: '/mark' }

for (const [index, [what, rule, asked, allowed]] of RULES.entries())
  test(`a rule ${allowed ? 'allows' : 'does not allow'} ${what}`, async () => {
    const name = `rule-${index}`
    const mark = { nonResourceURLs: [MARK.path], verbs: [MARK.verb] }
    await admin().create({
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRole',
      metadata: { name },
      rules: [rule, mark],
    })
    const bound = binding('ClusterRoleBinding', name, name, '')
    await admin().create({ ...bound, subjects: [{ kind: 'User', apiGroup: RBAC, name }] })
    // A real API server receives roles through a watch.
    await eventually('the role', () => isAllowed(name, MARK))
    assert.equal(await isAllowed(name, asked), allowed)
  })

async function isAllowed(user: string, { path, verb, ...resource }: Attributes): Promise<boolean> {
  const spec =
    path === undefined
      ? { user, resourceAttributes: { verb, ...resource } }
      : { user, nonResourceAttributes: { verb, path } }
  const { status } = await admin().post<{ status: { allowed: boolean } }>(
    '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec },
  )
  return status.allowed
}

async function account(ns: string, name: string) {
  await admin().apply(namespace(ns))
  await admin().create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: ns } })
  const { token } = await admin().createToken(ns, name)
  return server().unixClient(token)
}

const binding = (kind: string, role: string, name: string, ns: string, roleKind = 'ClusterRole') => ({
  apiVersion: `${RBAC}/v1`,
  kind,
  metadata: { name, ...(kind === 'RoleBinding' ? { namespace: ns } : {}) },
  roleRef: { apiGroup: RBAC, kind: roleKind, name: role },
  subjects: [{ kind: 'ServiceAccount', name, namespace: ns }],
})

const code = async (promise: Promise<unknown>) =>
  promise.then(
    () => 200,
    (error: unknown) => (isApiError(error) ? error.code : Promise.reject(error)),
  )

test('an account may do nothing until it is bound to a role, and the refusal names the missing permission', async () => {
  const client = await account('r-nothing', 'sa')
  await assert.rejects(client.list('pods'), {
    message:
      'pods is forbidden: User "system:serviceaccount:r-nothing:sa" cannot list resource "pods" in API group "" at the cluster scope',
  })
  await assert.rejects(client.get('pods', 'x', 'r-nothing'), {
    message:
      'pods "x" is forbidden: User "system:serviceaccount:r-nothing:sa" cannot get resource "pods" in API group "" in the namespace "r-nothing"',
  })
  await assert.rejects(client.createToken('r-nothing', 'sa'), {
    message: /cannot create resource "serviceaccounts\/token"/,
  })
})

test('a ClusterRoleBinding applies everywhere, a RoleBinding only in its namespace', async () => {
  const everywhere = await account('r-cluster', 'sa-cluster')
  const local = await account('r-local', 'sa-local')
  await admin().create({
    apiVersion: `${RBAC}/v1`,
    kind: 'ClusterRole',
    metadata: { name: 'pod-reader' },
    rules: [{ ...PODS, verbs: ['get', 'list'] }],
  })
  await admin().create(binding('ClusterRoleBinding', 'pod-reader', 'sa-cluster', 'r-cluster'))
  await admin().create(binding('RoleBinding', 'pod-reader', 'sa-local', 'r-local'))
  await eventually(
    'the rights',
    async () => (await code(local.list('pods', { namespace: 'r-local' }))) === 200,
  )
  assert.equal(await code(everywhere.list('pods')), 200)
  assert.equal(await code(everywhere.list('pods', { namespace: 'r-local' })), 200)
  assert.equal(await code(local.list('pods')), 403)
  assert.equal(await code(local.list('pods', { namespace: 'r-local' })), 200)
  assert.equal(await code(local.list('pods', { namespace: 'r-cluster' })), 403)
  await admin().delete('rolebindings.rbac.authorization.k8s.io', 'sa-local', 'r-local')
  await eventually(
    'their end',
    async () => (await code(local.list('pods', { namespace: 'r-local' }))) === 403,
  )
})

test('resourceNames limit a rule to one object, and allow a watch with that name as field selector', async () => {
  const client = await account('r-names', 'sa-names')
  await admin().create({
    apiVersion: `${RBAC}/v1`,
    kind: 'Role',
    metadata: { name: 'one', namespace: 'r-names' },
    rules: [
      {
        apiGroups: [''],
        resources: ['secrets'],
        verbs: ['get', 'update', 'watch', 'list'],
        resourceNames: ['ca'],
      },
    ],
  })
  await admin().create(binding('RoleBinding', 'one', 'sa-names', 'r-names', 'Role'))
  for (const name of ['ca', 'other'])
    await admin().create({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'r-names' } })
  await eventually('the rights', async () => (await code(client.get('secrets', 'ca', 'r-names'))) === 200)
  assert.equal(await code(client.get('secrets', 'other', 'r-names')), 403)
  assert.equal(await code(client.list('secrets', { namespace: 'r-names' })), 403)
  assert.equal(
    await code(client.list('secrets', { namespace: 'r-names', fieldSelector: 'metadata.name=ca' })),
    200,
  )
})

test('every authorized call is recorded with user, verb, resource, namespace and outcome', async () => {
  const client = await account('r-calls', 'sa')
  await server().calls({ clear: true })
  await code(client.list('pods', { namespace: 'r-calls' }))
  await admin().create(pod('p', 'r-calls'))
  await admin().patch('pods', 'p', 'r-calls', { status: {} }, { subresource: 'status' })
  const calls = (await server().calls()).map((call) => [
    call.user,
    call.verb,
    call.resource,
    call.subresource,
    call.namespace,
    call.name,
    call.allowed,
    call.code,
  ])
  assert.deepEqual(calls, [
    ['system:serviceaccount:r-calls:sa', 'list', 'pods', '', 'r-calls', '', false, 403],
    ['kubernetes-admin', 'create', 'pods', '', 'r-calls', '', true, 201],
    ['kubernetes-admin', 'patch', 'pods', 'status', 'r-calls', 'p', true, 200],
  ])
})
