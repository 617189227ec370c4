import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { eventually } from '../../../support/until.ts'
import { type KubeObject, sinceKubernetes } from '../client/client.ts'
import { namespace, pod, standInOnly, testServer } from '../client/test-server.ts'
import { listAt, objectAt } from './objects.ts'
import { ApiError } from './status.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin

const refused = (code: number, reason: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ApiError, String(error))
  assert.equal(error.code, code)
  assert.equal(error.reason, reason)
  assert.match(error.message, text)
  return true
}

test('the server reports the pinned release of Kubernetes that it is compared with', async () => {
  const pinned = await readFile(new URL('../../../peers/kubernetes/newest/go.mod', import.meta.url), 'utf8')
  const { gitVersion, major, minor } = await admin().raw<Record<string, string>>('/version')
  assert.equal(gitVersion, /\tk8s\.io\/kubernetes (v\S+)/.exec(pinned)?.[1])
  assert.equal(gitVersion?.startsWith(`v${major}.${minor}.`), true)
})

test('a created pod gets name, uid, version, creation time, defaults and the automatic token', async () => {
  const created = await admin().create({
    ...pod('', 'default'),
    metadata: { generateName: 'web-', namespace: 'default' },
    status: { phase: 'Running' },
  })
  const { metadata } = created
  assert.match(metadata.name ?? '', /^web-[a-z0-9]{5}$/)
  assert.match(metadata.uid ?? '', /^[0-9a-f-]{36}$/)
  assert.match(metadata.resourceVersion ?? '', /^\d+$/)
  assert.match(metadata.creationTimestamp ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  assert.deepEqual(objectAt(created, 'status'), { phase: 'Pending', qosClass: 'BestEffort' })
  const spec = objectAt(created, 'spec')
  assert.equal(spec.serviceAccountName, 'default')
  assert.equal(spec.restartPolicy, 'Always')
  const [container] = listAt(spec, 'containers')
  const [mount] = listAt(container, 'volumeMounts')
  const [volume] = listAt(spec, 'volumes')
  assert.equal(mount?.mountPath, '/var/run/secrets/kubernetes.io/serviceaccount')
  assert.match(String(volume?.name), /^kube-api-access-[a-z0-9]{5}$/)
  assert.equal(mount?.name, volume?.name)
})

test('automountServiceAccountToken false, on the pod or on its account, prevents the token', async () => {
  await admin().create({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'quiet', namespace: 'default' },
    automountServiceAccountToken: false,
  })
  const byPod = await admin().create(
    pod('no-token', 'default', { spec: { automountServiceAccountToken: false } }),
  )
  const byAccount = await admin().create(
    pod('no-token-2', 'default', { spec: { serviceAccountName: 'quiet' } }),
  )
  for (const created of [byPod, byAccount]) assert.deepEqual(listAt(created, 'spec', 'volumes'), [])
})

test('a pod of a missing service account is refused', async () => {
  await assert.rejects(
    admin().create(pod('x', 'default', { spec: { serviceAccountName: 'nobody' } })),
    refused(
      403,
      'Forbidden',
      /pods "x" is forbidden: error looking up service account default\/nobody: serviceaccount "nobody" not found/,
    ),
  )
})

test('a missing object is a NotFound Status, and creating an existing one is AlreadyExists', async () => {
  await assert.rejects(
    admin().get('pods', 'ghost', 'default'),
    refused(404, 'NotFound', /^pods "ghost" not found$/),
  )
  await assert.rejects(
    admin().get('deployments', 'ghost', 'default'),
    refused(404, 'NotFound', /^deployments.apps "ghost" not found$/),
  )
  await assert.rejects(
    admin().create(pod('x', 'nowhere')),
    refused(404, 'NotFound', /^namespaces "nowhere" not found$/),
  )
  await admin().create(pod('twice'))
  await assert.rejects(
    admin().create(pod('twice')),
    refused(409, 'AlreadyExists', /^pods "twice" already exists$/),
  )
})

test('an update of an older version is a Conflict, and an unconditional one is not', async () => {
  const created = await admin().create(pod('racy'))
  const labelled = { ...created, metadata: { ...created.metadata, labels: { a: '1' } } }
  await admin().update(labelled)
  await assert.rejects(
    admin().update(labelled),
    refused(409, 'Conflict', /the object has been modified; please apply/),
  )
  const { resourceVersion: _, ...metadata } = labelled.metadata
  await admin().update({ ...labelled, metadata: { ...metadata, labels: { a: '2' } } })
  assert.deepEqual((await admin().get('pods', 'racy', 'default')).metadata.labels, { a: '2' })
})

test('every write of any object increases the version, except one that changes nothing', async () => {
  const first = await admin().create(pod('v1'))
  const second = await admin().create(pod('v2'))
  assert.ok(Number(second.metadata.resourceVersion) > Number(first.metadata.resourceVersion))
  const same = await admin().patch('pods', 'v1', 'default', { metadata: { labels: null } })
  assert.equal(same.metadata.resourceVersion, first.metadata.resourceVersion)
})

test('uid and creation time cannot be changed', async () => {
  const created = await admin().create(pod('fixed'))
  await assert.rejects(
    admin().patch('pods', 'fixed', 'default', { metadata: { uid: 'other' } }),
    refused(422, 'Invalid', /metadata.uid: Invalid value: "other": field is immutable/),
  )
  await assert.rejects(
    admin().update({ ...created, metadata: { ...created.metadata, uid: 'other' } }),
    refused(409, 'Conflict', /Precondition failed: UID in precondition: other/),
  )
  const patched = await admin().patch('pods', 'fixed', 'default', {
    metadata: { creationTimestamp: '2000-01-01T00:00:00Z' },
  })
  assert.equal(patched.metadata.creationTimestamp, created.metadata.creationTimestamp)
})

test('the spec of a pod is immutable except for images, activeDeadlineSeconds and added tolerations', async () => {
  const env = [{ name: 'POD2IAM_ROLE', value: 'reader' }]
  await admin().create(
    pod('frozen', 'default', { spec: { containers: [{ name: 'app', image: 'app:1', env }] } }),
  )
  const patch = (value: unknown, path: string, op = 'replace') =>
    admin().patch('pods', 'frozen', 'default', [{ op, path, value }])
  const immutable = refused(
    422,
    'Invalid',
    /Pod "frozen" is invalid: spec: Forbidden: pod updates may not change fields other than/,
  )
  await assert.rejects(patch('admin', '/spec/containers/0/env/0/value'), immutable)
  await assert.rejects(patch(true, '/spec/hostNetwork', 'add'), immutable)
  await assert.rejects(
    patch({ name: 'b', image: 'b' }, '/spec/containers/-', 'add'),
    refused(422, 'Invalid', /spec.containers: Forbidden: pod updates may not add or remove containers/),
  )
  await assert.rejects(patch('node1', '/spec/nodeName', 'add'), immutable)
  await patch('app:2', '/spec/containers/0/image')
  await patch(60, '/spec/activeDeadlineSeconds', 'add')
  await patch({ key: 'x', operator: 'Exists' }, '/spec/tolerations/-', 'add')
  const annotated = await admin().patch('pods', 'frozen', 'default', {
    metadata: { annotations: { 'iam.amazonaws.com/role': 'writer' } },
  })
  assert.equal(annotated.metadata.annotations?.['iam.amazonaws.com/role'], 'writer')
  await assert.rejects(
    admin().patch('pods', 'frozen', 'default', { spec: { tolerations: [] } }),
    refused(422, 'Invalid', /existing toleration can not be modified/),
  )
})

test('pods/status changes status, labels and annotations but not the spec, and pods does not change the status', async () => {
  await admin().create(pod('halves'))
  const status = { status: { phase: 'Running' } }
  const patched = await admin().patch(
    'pods',
    'halves',
    'default',
    { ...status, metadata: { annotations: { a: 'by-status' } }, spec: { hostNetwork: true } },
    { subresource: 'status' },
  )
  assert.equal(objectAt(patched, 'status').phase, 'Running')
  assert.equal(objectAt(patched, 'spec').hostNetwork, undefined)
  assert.equal(patched.metadata.annotations?.a, 'by-status')
  const main = await admin().patch('pods', 'halves', 'default', { status: { phase: 'Failed' } })
  assert.equal(objectAt(main, 'status').phase, 'Running')
})

test('a binding assigns the pod once and merges its annotations into the pod', async () => {
  await admin().create(pod('bound'))
  await admin().bind('default', 'bound', 'node1', {
    annotations: { 'iam.amazonaws.com/role': 'other' },
  })
  const bound = await admin().get('pods', 'bound', 'default')
  assert.equal(objectAt(bound, 'spec').nodeName, 'node1')
  assert.equal(bound.metadata.annotations?.['iam.amazonaws.com/role'], 'other')
  const [condition] = listAt(bound, 'status', 'conditions')
  assert.equal(condition?.type, 'PodScheduled')
  await assert.rejects(
    admin().bind('default', 'bound', 'node2'),
    refused(409, 'Conflict', /pod bound is already assigned to node "node1"/),
  )
})

test('a binding merges its labels into the pod', sinceKubernetes(37, 'labels of bindings'), async () => {
  await admin().create(pod('labelled'))
  await admin().bind('default', 'labelled', 'node1', { labels: { x: 'y' } })
  assert.equal((await admin().get('pods', 'labelled', 'default')).metadata.labels?.x, 'y')
})

test('a pod on a node is deleted gracefully: it is marked first, and removed when the kubelet deletes it with grace 0', async () => {
  await admin().create(
    pod('polite', 'default', {
      spec: { terminationGracePeriodSeconds: 20, containers: [{ name: 'a', image: 'a' }] },
    }),
  )
  await admin().bind('default', 'polite', 'node1')
  await admin().delete('pods', 'polite', 'default')
  const marked = await admin().get('pods', 'polite', 'default')
  assert.equal(marked.metadata.deletionGracePeriodSeconds, 20)
  assert.ok(Date.parse(marked.metadata.deletionTimestamp ?? '') > Date.now() + 15_000)
  await admin().delete('pods', 'polite', 'default')
  assert.equal(
    (await admin().get('pods', 'polite', 'default')).metadata.resourceVersion,
    marked.metadata.resourceVersion,
  )
  await assert.rejects(
    admin().delete('pods', 'polite', 'default', { gracePeriodSeconds: 0, uid: 'other' }),
    refused(409, 'Conflict', /on Pod "polite": the UID in the precondition \(other\) does not match/),
  )
  await admin().delete('pods', 'polite', 'default', { gracePeriodSeconds: 0, uid: marked.metadata.uid ?? '' })
  assert.equal(await admin().find('pods', 'polite', 'default'), undefined)
})

test('a pod that has no node or has ended is deleted at once', async () => {
  await admin().create(pod('pending'))
  await admin().delete('pods', 'pending', 'default')
  assert.equal(await admin().find('pods', 'pending', 'default'), undefined)
  await admin().create(pod('done'))
  await admin().bind('default', 'done', 'node1')
  await admin().patch(
    'pods',
    'done',
    'default',
    { status: { phase: 'Succeeded' } },
    { subresource: 'status' },
  )
  await admin().delete('pods', 'done', 'default')
  assert.equal(await admin().find('pods', 'done', 'default'), undefined)
})

test('an object with finalizers stays until the last one is removed', async () => {
  const config: KubeObject = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'held', namespace: 'default', finalizers: ['x/y'] },
  }
  await admin().create(config)
  await admin().delete('configmaps', 'held', 'default')
  assert.notEqual((await admin().get('configmaps', 'held', 'default')).metadata.deletionTimestamp, undefined)
  await admin().patch('configmaps', 'held', 'default', { metadata: { finalizers: null } })
  assert.equal(await admin().find('configmaps', 'held', 'default'), undefined)
})

test('a new namespace has a default service account and the CA, and deleting it deletes its objects', async () => {
  await admin().create(namespace('short-lived'))
  assert.equal((await admin().get('serviceaccounts', 'default', 'short-lived')).metadata.name, 'default')
  const root = await admin().get('configmaps', 'kube-root-ca.crt', 'short-lived')
  assert.equal(objectAt(root, 'data')['ca.crt'], server().caPem)
  assert.equal(
    (await admin().get('namespaces', 'short-lived')).metadata.labels?.['kubernetes.io/metadata.name'],
    'short-lived',
  )
  await admin().create(pod('inside', 'short-lived'))
  await admin().bind('short-lived', 'inside', 'node1')
  await admin().delete('namespaces', 'short-lived')
  assert.equal(objectAt(await admin().get('namespaces', 'short-lived'), 'status').phase, 'Terminating')
  await assert.rejects(
    admin().create(pod('late', 'short-lived')),
    refused(
      403,
      'Forbidden',
      /unable to create new content in namespace short-lived because it is being terminated/,
    ),
  )
  await admin().delete('pods', 'inside', 'short-lived', { gracePeriodSeconds: 0 })
  await eventually('its end', async () => (await admin().find('namespaces', 'short-lived')) === undefined)
})

standInOnly('a request for something that the server does not have is refused', async () => {
  await admin().create(pod('owner'))
  for (const policy of ['Foreground', 'Orphan']) {
    const path = `/api/v1/namespaces/default/pods/owner?propagationPolicy=${policy}`
    assert.equal((await admin().request('DELETE', path)).status, 501)
  }
  const headers = { 'impersonate-user': 'somebody' }
  const answer = await admin().request('GET', '/api/v1/pods', undefined, undefined, headers)
  assert.equal(answer.status, 501)
  assert.equal((await admin().request('DELETE', '/api/v1/namespaces/default/pods')).status, 405)
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'owner' } }
  const path = '/api/v1/namespaces/default/pods/owner/eviction'
  assert.equal((await admin().request('POST', path, eviction)).status, 404)
  await admin().delete('pods', 'owner', 'default')
})

test('a dry run does everything except storing the object', async () => {
  const dry = await admin().create(pod('dry'), { dryRun: true })
  assert.notEqual(dry.metadata.uid, undefined)
  assert.equal(await admin().find('pods', 'dry', 'default'), undefined)
})

test('a JSON patch whose test fails is a 422 that does not say why', async () => {
  await admin().create({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'tainted' },
    spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] },
  })
  const operations = [
    { op: 'test', path: '/spec/taints/0/key', value: 'b' },
    { op: 'remove', path: '/spec/taints/0' },
  ]
  await assert.rejects(admin().patch('nodes', 'tainted', undefined, operations), (error) => {
    assert.ok(error instanceof ApiError && error.code === 422 && error.reason === 'Invalid')
    assert.equal(error.message, 'the server rejected our request due to an error in our request')
    assert.deepEqual(error.status.details, {})
    return true
  })
  operations[0] = { op: 'test', path: '/spec/taints/0/key', value: 'a' }
  const node = await admin().patch('nodes', 'tainted', undefined, operations)
  // A real API server taints a node that has not reported that it is ready.
  assert.ok(!listAt(node, 'spec', 'taints').some(({ key }) => key === 'a'))
})

test('a patch without a version is retried when another client writes at the same time', async () => {
  await admin().create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'busy', namespace: 'default' },
  })
  await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      admin().patch('configmaps', 'busy', 'default', { data: { [`k${i}`]: 'v' } }),
    ),
  )
  assert.equal(Object.keys(objectAt(await admin().get('configmaps', 'busy', 'default'), 'data')).length, 20)
})

test('unknown media types are 415, invalid bodies 400 and too large ones 413', async () => {
  const path = '/api/v1/namespaces/default/pods'
  assert.equal((await admin().request('PATCH', `${path}/x`, '{}', 'application/x-patch')).status, 415)
  assert.equal((await admin().request('POST', path, 'xx', 'application/x-pod')).status, 415)
  assert.equal((await admin().request('POST', path, '{')).status, 400)
  assert.equal(
    (await admin().request('POST', path, { apiVersion: 'v1', kind: 'Node', metadata: {} })).status,
    400,
  )
  assert.equal((await admin().request('POST', path, pod('x', 'kube-system'))).status, 400)
  assert.equal((await admin().request('GET', '/api/v1/frobs')).status, 404)
  assert.equal((await admin().request('POST', path, `"${'x'.repeat(3 * 1024 * 1024)}"`)).status, 413)
})

const INVALID: [what: string, spec: object, message: RegExp][] = [
  ['no container', { containers: [] }, /spec.containers: Required value/],
  [
    'a container without image',
    { containers: [{ name: 'a' }] },
    /spec.containers\[0\].image: Required value/,
  ],
  [
    'two containers of one name, one of them an init container',
    { initContainers: [{ name: 'a', image: 'x' }], containers: [{ name: 'a', image: 'x' }] },
    /spec.initContainers\[0\].name: Duplicate value: "a"/,
  ],
  [
    'a mount of an unknown volume',
    { containers: [{ name: 'a', image: 'x', volumeMounts: [{ name: 'nope', mountPath: '/x' }] }] },
    /spec.containers\[0\].volumeMounts\[0\].name: Not found: "nope"/,
  ],
  [
    'a token with too short a lifetime',
    {
      containers: [{ name: 'a', image: 'x' }],
      volumes: [
        {
          name: 't',
          projected: { sources: [{ serviceAccountToken: { path: 'token', expirationSeconds: 300 } }] },
        },
      ],
    },
    /serviceAccountToken.expirationSeconds: Invalid value: 300: may not specify a duration less than 10 minutes/,
  ],
  [
    'a startupProbe on an ordinary init container',
    {
      initContainers: [{ name: 'i', image: 'x', startupProbe: { exec: {} } }],
      containers: [{ name: 'a', image: 'x' }],
    },
    /spec.initContainers\[0\].startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always/,
  ],
  [
    'a request above its limit',
    {
      containers: [{ name: 'a', image: 'x', resources: { requests: { cpu: '2' }, limits: { cpu: '500m' } } }],
    },
    /resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 500m/,
  ],
  [
    'a privileged container without privilege escalation',
    {
      containers: [
        { name: 'a', image: 'x', securityContext: { privileged: true, allowPrivilegeEscalation: false } },
      ],
    },
    /cannot set `allowPrivilegeEscalation` to false and `privileged` to true/,
  ],
]

for (const [what, spec, message] of INVALID)
  test(`a pod with ${what} is a 422 that names the field`, async () => {
    await assert.rejects(admin().create(pod('bad', 'default', { spec })), refused(422, 'Invalid', message))
  })

test('labels and annotation keys are validated', async () => {
  const create = (metadata: object) =>
    admin().create(pod('bad', 'default', { metadata: { name: 'bad', ...metadata } }))
  await assert.rejects(
    create({ labels: { a: 'x y' } }),
    refused(422, 'Invalid', /metadata.labels: Invalid value: "x y": a valid label/),
  )
  await assert.rejects(
    create({ annotations: { 'a/b/c': '' } }),
    refused(422, 'Invalid', /metadata.annotations: Invalid value/),
  )
  await assert.rejects(
    create({ name: 'Bad_Name' }),
    refused(422, 'Invalid', /metadata.name: Invalid value: "Bad_Name"/),
  )
})

test('events.k8s.io and core events are two views of the same objects', async () => {
  const event = {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'pod.1', namespace: 'default' },
    regarding: { kind: 'Pod', namespace: 'default', name: 'p', uid: 'u' },
    eventTime: '2026-01-01T00:00:00.000000Z',
    reportingController: 'pod2iam.dev/broker',
    reportingInstance: 'node1',
    action: 'Issue',
    reason: 'RoleNotAllowed',
    note: 'no',
    type: 'Warning',
  }
  await admin().create(event)
  const core = await admin().get('events', 'pod.1', 'default')
  assert.equal(core.message, 'no')
  assert.deepEqual(core.involvedObject, event.regarding)
  const { items } = await admin().list('events', {
    namespace: 'default',
    fieldSelector: 'involvedObject.uid=u',
  })
  assert.equal(items.length, 1)
  const series = { count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z' }
  const patched = await admin().patch('events.events.k8s.io', 'pod.1', 'default', { series })
  assert.deepEqual(patched.series, series)
  assert.equal(patched.note, 'no')
  await assert.rejects(
    admin().patch('events.events.k8s.io', 'pod.1', 'default', { note: 'yes' }),
    refused(422, 'Invalid', /^Event "pod.1" is invalid: message: Invalid value: "yes": field is immutable/),
  )
  const { action: _, ...without } = event
  await assert.rejects(
    admin().create({ ...without, metadata: { name: 'pod.2', namespace: 'default' } }),
    refused(422, 'Invalid', /action: Required value/),
  )
})

test('fields that a kind does not have are dropped with a warning, or refused under Strict', async () => {
  const spec = { containers: [{ name: 'a', image: 'a', restartpolicy: 'Always' }], initcontainers: [] }
  const warnings: string[] = []
  const created = await admin().create(pod('typo', 'default', { spec }), {
    onWarning: (text) => warnings.push(text),
  })
  assert.deepEqual(warnings, [
    'unknown field "spec.containers[0].restartpolicy"',
    'unknown field "spec.initcontainers"',
  ])
  assert.equal(JSON.stringify(created).includes('restartpolicy'), false)
  const strict = await admin().request(
    'POST',
    '/api/v1/namespaces/default/pods?fieldValidation=Strict',
    pod('typo-2', 'default', { spec }),
  )
  assert.equal(strict.status, 400)
  assert.match(strict.body, /strict decoding error: unknown field \\"spec.containers\[0\].restartpolicy\\"/)
})

test('values of a wrong type are refused with the text of the real decoder', async () => {
  const env = [{ name: 'X', value: 1 }]
  await assert.rejects(
    admin().create(pod('typed', 'default', { spec: { containers: [{ name: 'a', image: 'a', env }] } })),
    refused(
      400,
      'BadRequest',
      /Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string/,
    ),
  )
})

test('null, empty optional lists and empty maps are dropped, and quantities may be numbers', async () => {
  const created = await admin().create(
    pod('empty', 'default', {
      metadata: { name: 'empty', labels: {}, annotations: {} },
      spec: {
        initContainers: [],
        nodeName: null,
        automountServiceAccountToken: false,
        volumes: [],
        containers: [{ name: 'a', image: 'a', env: [], resources: { limits: { cpu: 1 } } }],
      },
    }),
  )
  assert.equal(created.metadata.labels, undefined)
  assert.equal(created.metadata.annotations, undefined)
  const spec = objectAt(created, 'spec')
  assert.deepEqual([spec.initContainers, spec.nodeName, spec.volumes], [undefined, undefined, undefined])
  const [container] = listAt(spec, 'containers')
  assert.equal(container?.env, undefined)
  assert.deepEqual(container?.resources, { limits: { cpu: '1' }, requests: { cpu: '1' } })
})
